//! The check that every entry of the log about an order is on the deliveries topic, for each order in
//! the sequence of the log.

use std::collections::HashMap;

use chassis::{
    audit::{check::Check, scanned::ScannedTopic},
    kafka::{config::KafkaConfig, record::milliseconds, topic_scan::Scanner, topics::cleanup},
};
use events::DeliveryEvent;
use futures_util::TryStreamExt as _;
use sqlx::PgConnection;

/// The entries that Kafka has acknowledged, by their order and number.
pub(super) struct SentEntries(HashMap<(String, i64), SentEntry>);

struct SentEntry {
    status: String,
    at_ms: i64,
    is_on_topic: bool,
}

impl SentEntries {
    /// Reads the entries that are not in the outbox any more.
    pub(super) async fn read(connection: &mut PgConnection) -> anyhow::Result<Self> {
        let mut entries = HashMap::new();
        let mut rows = sqlx::query!(
            "-- audit_sent_entries\n\
             SELECT order_id AS \"order_id!\", number, status, at FROM couriers.delivery_log AS entry \
             WHERE order_id IS NOT NULL AND NOT EXISTS ( \
                 SELECT FROM couriers.delivery_outbox AS stored WHERE stored.number = entry.number \
             )"
        )
        .fetch(connection);
        while let Some(row) = rows.try_next().await? {
            let entry =
                SentEntry { status: row.status, at_ms: milliseconds(row.at), is_on_topic: false };
            entries.insert((row.order_id, row.number), entry);
        }
        Ok(Self(entries))
    }

    /// Reads the whole topic, and looks for each entry.
    pub(super) async fn check(
        mut self,
        kafka: &KafkaConfig,
        scanner: &Scanner,
        topic: &str,
    ) -> anyhow::Result<Check> {
        let mut check =
            Check::new(7, "every change of a delivery is on its topic, in the sequence of the log");
        let cleanup = cleanup(kafka, topic).await;
        let mut scanned = ScannedTopic::new(topic, &scanner.bounds(topic)?, cleanup);
        // The last number of each order in each partition: added partitions divide an order's events.
        let mut last: HashMap<(String, i32), i64> = HashMap::new();
        scanner.read(topic, &scanned.ends(), |record| {
            scanned.see(&record);
            let Ok(event) = DeliveryEvent::read(record.value) else { return Ok(()) };
            let order_id = event.order_id.to_string();
            let key = (order_id, event.number);
            let Some(entry) = self.0.get_mut(&key) else { return Ok(()) };
            if entry.is_on_topic || entry.status != event.status.as_str() {
                return Ok(());
            }
            entry.is_on_topic = true;
            let (order_id, number) = key;
            let last = last.entry((order_id, record.position.partition)).or_default();
            check.look(*last < number, || event.id());
            *last = number.max(*last);
            Ok(())
        })?;
        scanned.finish(&scanner.bounds(topic)?);
        let oldest_ms = self.0.values().map(|entry| entry.at_ms).min().unwrap_or(0);
        let complete_since = scanned.complete_since(oldest_ms);
        for ((order_id, number), entry) in self.0.iter().filter(|(_, entry)| !entry.is_on_topic) {
            if complete_since.is_some_and(|since| since <= entry.at_ms) {
                check.look(false, || format!("{order_id}:{number}:{}", entry.status));
            } else {
                check.skip(1, &scanned.incomplete());
            }
        }
        Ok(check)
    }
}
