//! Watches a run. While the run waits, [`Watch`] shows the progress, checks for a failure or a timeout
//! of Kafka, and ends the wait at the shutdown.

use std::{pin::pin, time::Duration};

use chassis::kafka::producer::ProduceError;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{args::OnTimeout, progress::Progress, send::Sender, summary::EndReason};

/// Bounds the time without an acknowledgement while sent records have none.
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
    /// The last time at which Kafka acknowledged a record, or every record had an outcome.
    last_progress: Instant,
    /// True if the current timeout was reported, so that it is reported once.
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

    /// Waits for `work`. If the run must end first, drops `work` unfinished and returns the reason.
    pub(super) async fn wait_for<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, EndReason> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                // In this order, because at full speed `work` is always ready, and would always be
                // chosen before the shutdown and the check.
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
        // A record that is too large is not a reason to end: the next record may be accepted.
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
            OnTimeout::GiveUp => Err(EndReason::KafkaUnreachable),
            OnTimeout::Wait => {
                if !self.is_reported {
                    self.progress.warn(
                        "Kafka has acknowledged no record for 10 seconds; the generator waits",
                    );
                    self.is_reported = true;
                }
                Ok(())
            }
        }
    }
}
