//! Watches a run: while the run waits for anything, it shows the progress, checks for a failure or
//! a timeout of Kafka, and stops on shutdown.

use std::{pin::pin, time::Duration};

use chassis::kafka::producer::ProduceError;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{args::OnTimeout, progress::Progress, send::Sender, summary::EndReason};

/// Bounds the time without an acknowledgement while records are on their way.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Watch {
    sender: Sender,
    shutdown: CancellationToken,
    on_timeout: OnTimeout,
    pub(super) progress: Progress,
    /// Records sent so far.
    pub(super) sent: u64,
    ticks: Interval,
    acknowledged: u64,
    /// The last instant at which Kafka acknowledged something or nothing was on its way.
    last_progress: Instant,
    /// True once the current timeout was reported.
    is_reported: bool,
}

impl Watch {
    pub(super) fn new(
        sender: Sender,
        shutdown: CancellationToken,
        on_timeout: OnTimeout,
        progress: Progress,
    ) -> Self {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            sender,
            shutdown,
            on_timeout,
            progress,
            sent: 0,
            ticks,
            acknowledged: 0,
            last_progress: Instant::now(),
            is_reported: false,
        }
    }

    /// Waits for `work`, unless the run has to end before; then `work` is dropped unfinished.
    pub(super) async fn wait_for<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, EndReason> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(EndReason::Stopped),
                _ = self.ticks.tick() => self.check().await?,
                done = &mut work => return Ok(done),
            }
        }
    }

    async fn check(&mut self) -> Result<(), EndReason> {
        let acknowledged = self.sender.acknowledged();
        self.progress.show(self.sent, acknowledged);
        let settled = self.sender.settled_by_now().await;
        // A record that is too large says nothing about the next one.
        if let Some(Err(error @ (ProduceError::Fatal(_) | ProduceError::Other(_)))) = settled {
            return Err(EndReason::Refused(error.to_string()));
        }
        if settled.is_some() || acknowledged > self.acknowledged {
            self.acknowledged = acknowledged;
            self.last_progress = Instant::now();
            self.is_reported = false;
        }
        if self.last_progress.elapsed() < ACK_TIMEOUT {
            return Ok(());
        }
        match self.on_timeout {
            OnTimeout::GiveUp => Err(EndReason::KafkaTimeout),
            OnTimeout::Wait => {
                if !self.is_reported {
                    self.progress.warn(
                        "Kafka has acknowledged no order for 10 seconds; the generator waits",
                    );
                    self.is_reported = true;
                }
                Ok(())
            }
        }
    }
}
