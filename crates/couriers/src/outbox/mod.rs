//! The sender of delivery events: entries of the log ─▶ deliveries topic.
//!
//! ```text
//! entry ─commit─▶ delivery_outbox ─read─▶ entries ─send─▶ acknowledged ─delete─▶ next batch
//! ```
//!
//! An entry and its number in the outbox are written in one transaction, by the statements of
//! `store` and `dispatch`. One replica sends at a time: the one that has the lease. A number leaves the
//! outbox only after Kafka has acknowledged its event, so no event is missing. An event is repeated
//! if the sender ends, or loses its lease, between the two.
//!
//! **Order.** The entries of one order become visible in the sequence of their numbers, because
//! each is written while the order's row in `order_states` is locked. So the lowest numbers in the
//! outbox have no gap for any order, although a lower number of another order may become visible
//! later. Of one order, an event is sent only after the one before it is acknowledged.
//!
//! No transaction is open and no row is locked while the sender waits for Kafka. This module decides
//! nothing about deliveries.

mod entries;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use chassis::{
    kafka::producer::{Attempt, OutgoingRecord, ProduceError, Producer},
    postgres::{time_limit::BACKGROUND, transaction::change},
    process::{
        failpoint,
        metrics::seconds_now,
        retry::Backoff,
        trace::{self, Trace},
    },
};
use events::DeliveryEvent;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use sqlx::PgPool;
use time::format_description::well_known::Rfc3339;
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::entries::{Holder, delete_sent, give_up_lease, measure_outbox, read_entries, take_lease};

/// The time after which another replica sends if this one does not renew its lease.
const LEASE: Duration = Duration::from_secs(5);
/// The interval at which the lease is renewed during a wait for Kafka.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(1);
/// The interval at which the outbox is read without a notification: for changes by other replicas.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);
/// The longest wait for Kafka after the shutdown has begun.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The sender, with the connections and handles that it uses.
pub(crate) struct Sender {
    pub(crate) pool: PgPool,
    pub(crate) producer: Producer,
    pub(crate) topic: String,
    /// The header `ce_source` of this installation's events.
    pub(crate) source: String,
    /// Notified after changes of this replica.
    pub(crate) to_send: Arc<Notify>,
    pub(crate) metrics: OutboxMetrics,
}

chassis::metrics! {
    pub(crate) struct OutboxMetrics {
        /// Delivery events that this replica has sent and Kafka has acknowledged
        sent: Counter = "waybill_delivery_events_sent",
        /// Entries of the log that are not sent yet, at most 100000
        unsent: Gauge = "waybill_delivery_events_unsent",
        /// Age of the oldest entry that is not sent yet, seconds
        oldest_unsent_seconds: Gauge<f64, AtomicU64> = "waybill_oldest_unsent_delivery_event_seconds",
        /// Time of the last measurement of the entries that are not sent, seconds since 1970
        measured_at: Gauge<f64, AtomicU64> = "waybill_outbox_measured_timestamp_seconds",
    }
}

/// An error of a turn of the sender.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Fatal: the producer cannot send any more.
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

/// The result of a turn of the sender.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// The batch was full, so there may be more.
    Full,
    Done,
}

impl Sender {
    /// Sends until `shutdown`. Errors of the database are retried without limit; only a fatal error
    /// of the producer is returned.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            outcome = self.send_until(shutdown) => outcome,
            // A separate loop, which never ends: the first one may wait for Kafka.
            () = self.measure() => Ok(()),
        }
    }

    async fn measure(&self) {
        let mut measurements = interval(MEASURE_INTERVAL);
        measurements.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            measurements.tick().await;
            match measure_outbox(&self.pool).await {
                Ok(outbox) => {
                    self.metrics.unsent.set(outbox.entries);
                    self.metrics.oldest_unsent_seconds.set(outbox.oldest_seconds.max(0.0));
                    self.metrics.measured_at.set(seconds_now());
                }
                // Only at `debug`, because the sender reports that PostgreSQL is unreachable.
                Err(error) => tracing::debug!("measuring the outbox: {error}"),
            }
        }
    }

    async fn send_until(&self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let holder = Holder::new();
        let mut polls = interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut backoff = Backoff::default();
        while !shutdown.is_cancelled() {
            // A notification during a turn is kept, and causes another turn.
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.to_send.notified() => {}
                _ = polls.tick() => {}
            }
            match self.send_available(holder, &shutdown).await {
                Ok(()) => {
                    if !backoff.is_first() {
                        tracing::info!("delivery events are sent again");
                    }
                    backoff = Backoff::default();
                }
                Err(TurnError::Produce(error)) => return Err(error.into()),
                Err(TurnError::Database(error)) => {
                    if backoff.is_first() {
                        tracing::warn!("sending delivery events failed, retrying: {error}");
                    }
                    // If the outcome is unknown, both are correct: the lease is taken or not, the
                    // events that are sent again are repeats.
                    shutdown.run_until_cancelled(backoff.pause()).await;
                }
            }
        }
        // So that another replica need not wait for the end of the lease. If this fails, it waits.
        if let Err(error) = give_up_lease(&self.pool, holder).await {
            tracing::debug!("giving up the lease of the outbox: {error}");
        }
        Ok(())
    }

    /// Sends batches until the outbox is empty, or another replica has the lease.
    async fn send_available(
        &self,
        holder: Holder,
        shutdown: &CancellationToken,
    ) -> Result<(), TurnError> {
        while !shutdown.is_cancelled() && self.turn(holder, shutdown).await? == Turn::Full {}
        Ok(())
    }

    /// Reads one batch, sends it, and deletes it from the outbox.
    async fn turn(&self, holder: Holder, shutdown: &CancellationToken) -> Result<Turn, TurnError> {
        if !take_lease(&self.pool, holder, LEASE).await? {
            return Ok(Turn::Done);
        }
        let entries = read_entries(&self.pool).await?;
        if entries.is_empty() {
            return Ok(Turn::Done);
        }
        failpoint::async_point("outbox-read").await;
        if !self.send_with_lease(&entries, holder, shutdown).await? {
            return Ok(Turn::Done);
        }
        self.metrics.sent.inc_by(entries.len() as u64);
        failpoint::async_point("outbox-sent").await;
        // Another replica may have taken the lease meanwhile, if this one was frozen. Then it has
        // sent these entries, too, and deletes them itself; this deletes nothing.
        change(&self.pool, BACKGROUND, async |transaction| {
            delete_sent(transaction, holder, &entries).await?;
            failpoint::try_async_point("outbox-deleted").await?;
            Ok::<_, sqlx::Error>(())
        })
        .await?;
        Ok(if entries.len() < entries::BATCH_ROWS { Turn::Done } else { Turn::Full })
    }

    /// Sends entries, and renews the lease meanwhile. Returns false if the shutdown has ended the
    /// wait for Kafka; then it is not known which events were sent.
    async fn send_with_lease(
        &self,
        entries: &[DeliveryEvent],
        holder: Holder,
        shutdown: &CancellationToken,
    ) -> Result<bool, TurnError> {
        let mut sending = std::pin::pin!(self.send(entries));
        let mut stopping = std::pin::pin!(async {
            shutdown.cancelled().await;
            sleep(SHUTDOWN_TIMEOUT).await;
        });
        loop {
            tokio::select! {
                sent = &mut sending => return Ok(sent.map(|()| true)?),
                () = &mut stopping => return Ok(false),
                () = sleep(RENEWAL_INTERVAL) => {
                    // Without the lease the sender continues: the records are already in the queue
                    // of the client. While PostgreSQL does not answer, no other replica can take
                    // the lease either.
                    if let Ok(Err(error)) =
                        timeout(LEASE, take_lease(&self.pool, holder, LEASE)).await
                    {
                        tracing::debug!("renewing the lease of the outbox: {error}");
                    }
                }
            }
        }
    }

    async fn send(&self, entries: &[DeliveryEvent]) -> Result<(), ProduceError> {
        for round in rounds(entries) {
            let records = |attempt: Attempt, send: &mut dyn FnMut(OutgoingRecord<'_>)| {
                event_record(round[attempt.number], &self.source, send);
            };
            self.producer.send_all(&self.topic, round.len(), 0, records).await?;
        }
        Ok(())
    }
}

/// Divides entries into rounds, each with at most one entry per order. A round is sent after all
/// events of the round before it are acknowledged.
// The producer keeps the order of records that it sends together, except if Kafka refuses one of
// them: that one is sent again after the others.
fn rounds(entries: &[DeliveryEvent]) -> Vec<Vec<&DeliveryEvent>> {
    let mut rounds: Vec<Vec<&DeliveryEvent>> = Vec::new();
    let mut places = HashMap::new();
    for entry in entries {
        let place = places.entry(&entry.order_id).or_insert(0);
        if *place == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[*place].push(entry);
        *place += 1;
    }
    rounds
}

fn event_record(event: &DeliveryEvent, source: &str, send: &mut dyn FnMut(OutgoingRecord<'_>)) {
    let value = serde_json::to_vec(event).expect("an event has string keys");
    let id = event.id();
    let at = event.at.format(&Rfc3339).expect("the database's clock has four digits of the year");
    let step = Trace::begin().header();
    let headers = [
        ("ce_specversion", Some(b"1.0".as_slice())),
        ("ce_id", Some(id.as_bytes())),
        ("ce_type", Some(event.status.as_str().as_bytes())),
        ("ce_source", Some(source.as_bytes())),
        ("ce_time", Some(at.as_bytes())),
        (trace::HEADER, Some(step.as_slice())),
    ];
    let key = Some(event.order_id.as_str().as_bytes());
    send(OutgoingRecord { key, value: Some(&value), headers: &headers });
}

#[cfg(test)]
mod tests {
    use events::{DeliveryCause, DeliveryStatus};
    use time::macros::datetime;

    use super::*;

    fn entry(order_id: &str, number: i64) -> DeliveryEvent {
        DeliveryEvent {
            order_id: order_id.parse().unwrap(),
            courier_id: None,
            status: DeliveryStatus::Cancelled,
            at: datetime!(2026-01-01 10:00 UTC),
            number,
            transport_type: None,
            deadline: None,
            cause: Some(DeliveryCause::Event),
        }
    }

    #[test]
    fn a_round_has_one_entry_of_an_order_and_no_later_one_comes_first() {
        let entries = [("a", 1), ("b", 2), ("a", 3), ("a", 5), ("c", 6), ("b", 7)];
        let entries = entries.map(|(order_id, number)| entry(order_id, number));

        let numbers: Vec<Vec<i64>> = rounds(&entries)
            .into_iter()
            .map(|round| round.into_iter().map(|entry| entry.number).collect())
            .collect();

        assert_eq!(numbers, [vec![1, 2, 6], vec![3, 7], vec![5]]);
        assert!(rounds(&[]).is_empty());
    }

    #[test]
    fn an_event_has_the_headers_of_the_contract() {
        let mut seen = Vec::new();
        event_record(&entry("a", 7), "waybill/w/couriers", &mut |record| {
            assert_eq!(record.key, Some(b"a".as_slice()));
            seen.extend(record.headers.iter().map(|(name, value)| {
                ((*name).to_owned(), String::from_utf8(value.unwrap().to_vec()).unwrap())
            }));
        });

        assert_eq!(seen.pop().unwrap().0, "traceparent");
        let wanted = [
            ("ce_specversion", "1.0"),
            ("ce_id", "a:7:cancelled"),
            ("ce_type", "cancelled"),
            ("ce_source", "waybill/w/couriers"),
            ("ce_time", "2026-01-01T10:00:00Z"),
        ];
        assert_eq!(seen, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
