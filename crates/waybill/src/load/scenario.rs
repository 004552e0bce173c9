//! Connects the [simulation](super::simulation) to the status topic: reads which orders are created,
//! and sends each status when it is due.

use std::{
    collections::BTreeMap,
    pin::pin,
    time::{Duration, SystemTime},
};

use chassis::kafka::{config::KafkaConfig, producer::ProduceError, record::Record, tail};
use events::{OrderUid, StatusEvent};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    FLUSH_TIMEOUT,
    own::OwnOrders,
    send::Sender,
    simulation::{Simulation, Step, Walk},
};

/// The number of sent statuses, by status.
pub(super) type ByStatus = BTreeMap<&'static str, u64>;

/// The scenario ends when no order is active and no event has arrived for this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval between two checks for a status that Kafka refused permanently.
const FAILURE_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Bounds the queue of events that were read. The reader waits while it is full.
const MAX_QUEUED_EVENTS: usize = 10_000;

pub(super) struct Scenario<'a> {
    pub(super) kafka: &'a KafkaConfig,
    pub(super) status_topic: &'a str,
    /// The orders whose statuses are simulated.
    pub(super) own: OwnOrders,
    /// The statuses of orders that were created before this time are not simulated.
    pub(super) since: SystemTime,
    pub(super) seed: u64,
    pub(super) sender: Sender,
    /// The number of sent statuses so far.
    pub(super) statuses: ByStatus,
}

impl Scenario<'_> {
    // The loop has two states. It changes to idle when `all_sent` is cancelled and no order is active,
    // and back to active when an order is created late by the order service.
    //
    //   active   wakes when the next status is due; sends all statuses that are due
    //   idle     wakes IDLE_TIMEOUT after the last event, and ends
    //
    // In both states it also wakes for an event, which may start or end an order, for a failure of the
    // producer, for the end of the reader, and for `shutdown`. The events that it sends come back from
    // the topic as well, and change nothing in the simulation.

    /// Sends the statuses of orders until `shutdown`, or until `all_sent` is cancelled and every order
    /// has ended.
    pub(super) async fn run(
        &mut self,
        walk: Walk,
        all_sent: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let (events, mut received) = mpsc::channel::<StatusEvent>(MAX_QUEUED_EVENTS);
        let (topics, own) = ([self.status_topic.to_owned()], self.own.clone());
        let queue = move |_: &str, record: Record<'_>| {
            // A record that is not an event is skipped: to reject it is the services' task. An order
            // of another sender is not changed. Sending fails only after the loop has ended and dropped
            // the receiver.
            if let Ok(event) = StatusEvent::read(record.value)
                && own.contains(&event.order_id)
            {
                let _ = events.blocking_send(event);
            }
        };
        let stop_reading = shutdown.child_token();
        let _stop_when_dropped = stop_reading.clone().drop_guard();
        let mut reading = pin!(tail::read(self.kafka, &topics, self.since, queue, stop_reading));
        let mut checks = tokio::time::interval(FAILURE_CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut simulation = Simulation::new(self.seed, walk);
        let mut last_event = Instant::now();
        while !shutdown.is_cancelled() {
            let now = Instant::now();
            self.send_due(&mut simulation, now, shutdown).await?;
            let is_idle = simulation.active_orders() == 0 && all_sent.is_cancelled();
            let wake = if is_idle { Some(last_event + IDLE_TIMEOUT) } else { simulation.due() };
            if is_idle && wake.is_some_and(|wake| wake <= now) {
                break;
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                ended = &mut reading => {
                    ended?;
                    break;
                }
                event = received.recv() => if let Some(event) = event {
                    last_event = Instant::now();
                    simulation.receive(&event.order_id, event.word, last_event);
                },
                () = all_sent.cancelled(), if !all_sent.is_cancelled() => {
                    last_event = Instant::now();
                }
                () = tokio::time::sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
                _ = checks.tick() => or_too_large(self.sender.failure().map_or(Ok(()), Err))?,
            }
        }
        // The reading thread may be blocked on the full queue. Without a receiver its send fails, and
        // the thread sees that it was stopped.
        drop(received);
        // The wait for acknowledgements is short: an event without one counts as failed, and no other
        // step depends on it.
        let settled = tokio::time::timeout(FLUSH_TIMEOUT, self.sender.settled()).await;
        or_too_large(settled.unwrap_or(Ok(())))
    }

    async fn send_due(
        &mut self,
        simulation: &mut Simulation,
        now: Instant,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        while let Some(Step { order_id, status }) = simulation.step(now) {
            let event = event(&order_id, status, OffsetDateTime::now_utc());
            let sending = self.sender.send(Some(order_id.as_str().as_bytes()), &event);
            let Some(sent) = shutdown.run_until_cancelled(sending).await else { break };
            or_too_large(sent)?;
            *self.statuses.entry(status).or_default() += 1;
        }
        Ok(())
    }
}

/// Ignores the error that a record is too large: the next record may be accepted. It counts as not
/// acknowledged.
fn or_too_large(sent: Result<(), ProduceError>) -> anyhow::Result<()> {
    match sent {
        Ok(()) | Err(ProduceError::TooLarge) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the value of a status event, without a version and in whole seconds, as other services
/// write it.
fn event(order_id: &OrderUid, status: &str, at: OffsetDateTime) -> Vec<u8> {
    let at = at.truncate_to_second().format(&Rfc3339).expect("the present year has four digits");
    let order_id = serde_json::Value::from(order_id.as_str());
    format!(r#"{{"order_id":{order_id},"status":"{status}","created_at":"{at}"}}"#).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_form_of_the_example() {
        let at = OffsetDateTime::parse("2025-08-06T12:00:00.123Z", &Rfc3339).unwrap();
        assert_eq!(
            String::from_utf8(event(&"123".parse().unwrap(), "created", at)).unwrap(),
            r#"{"order_id":"123","status":"created","created_at":"2025-08-06T12:00:00Z"}"#
        );
    }
}
