//! The watch over a run: while it waits for anything, progress is shown, Kafka's silence and
//! failures are noticed, and a stop from outside is heard.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    args::WhenSilent,
    progress::Progress,
    send::{Refusal, Sender},
    summary::Ended,
};

/// How long Kafka may acknowledge nothing while records are on their way.
const SILENCE: Duration = Duration::from_secs(10);

pub(super) struct Watch {
    sender: Sender,
    shutdown: CancellationToken,
    when_silent: WhenSilent,
    pub(super) progress: Progress,
    /// Records sent so far.
    pub(super) sent: u64,
    ticks: Interval,
    acknowledged: u64,
    /// When Kafka last acknowledged something, or owed nothing.
    heard: Instant,
    /// Whether this silence was told already.
    told: bool,
}

impl Watch {
    pub(super) fn new(
        sender: Sender,
        shutdown: CancellationToken,
        when_silent: WhenSilent,
        progress: Progress,
    ) -> Self {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            sender,
            shutdown,
            when_silent,
            progress,
            sent: 0,
            ticks,
            acknowledged: 0,
            heard: Instant::now(),
            told: false,
        }
    }

    /// Waits for `work`, unless the run has to end before; `work` is then dropped unfinished.
    pub(super) async fn attend<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Ended> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(Ended::Stopped),
                _ = self.ticks.tick() => self.look().await?,
                done = &mut work => return Ok(done),
            }
        }
    }

    async fn look(&mut self) -> Result<(), Ended> {
        let acknowledged = self.sender.acknowledged();
        self.progress.show(self.sent, acknowledged);
        let settled = self.sender.settled_by_now().await;
        if let Some(Err(Refusal::Lasting(why))) = settled {
            return Err(Ended::Refused(why));
        }
        if settled.is_some() || acknowledged > self.acknowledged {
            self.acknowledged = acknowledged;
            self.heard = Instant::now();
            self.told = false;
        }
        if self.heard.elapsed() < SILENCE {
            return Ok(());
        }
        match self.when_silent {
            WhenSilent::GiveUp => Err(Ended::KafkaSilent),
            WhenSilent::Wait => {
                if !self.told {
                    self.progress
                        .say("Kafka has acknowledged no order for 10 seconds; the generator waits");
                    self.told = true;
                }
                Ok(())
            }
        }
    }
}
