//! Writes the deliveries topic to PostgreSQL: one row for each order, from the event with the
//! greatest time and number. So repeated events and any sequence of arrival end in the same row.
//!
//! Only this module can make a [`StoredDeliveries`], and the consumer stores offsets only for that.

use chassis::{
    kafka::consumer::Receipt,
    postgres::transaction::{self, Fault, WriteError, Writer},
};
use events::{DeliveryCause, DeliveryEvent, Transport};
use sqlx::{PgConnection, PgPool, postgres::PgBindIterExt as _};

/// A record of the deliveries topic: its event, or the code of the reason why it has none.
pub(super) type DeliveryRecord = Result<DeliveryEvent, &'static str>;

/// The proof that all events of a batch are stored or superseded. Its fields are private, so that
/// only [`DeliveryStore::store`] makes one.
pub(crate) struct StoredDeliveries {
    written: u64,
    superseded: u64,
    unreadable: Vec<&'static str>,
}

impl StoredDeliveries {
    /// Returns the number of rows that were written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Returns the number of events that changed no row, because a later event of their order is in
    /// the batch or in the table.
    pub(super) fn superseded(&self) -> u64 {
        self.superseded
    }

    /// Returns the codes of the records that are not events.
    pub(super) fn unreadable(&self) -> &[&'static str] {
        &self.unreadable
    }
}

impl Receipt for StoredDeliveries {}

pub(super) struct DeliveryStore {
    pool: PgPool,
    metrics: transaction::CommitMetrics,
}

impl DeliveryStore {
    pub(super) fn new(pool: PgPool, metrics: transaction::CommitMetrics) -> Self {
        Self { pool, metrics }
    }

    pub(super) async fn store(
        &self,
        batch: Vec<DeliveryRecord>,
    ) -> anyhow::Result<StoredDeliveries> {
        let mut stored = StoredDeliveries { written: 0, superseded: 0, unreadable: Vec::new() };
        for part in transaction::commit(&self.pool, self, &self.metrics, batch).await? {
            let unreadable: Vec<_> =
                part.items.iter().filter_map(|record| record.as_ref().err().copied()).collect();
            stored.written += part.outcome;
            stored.superseded += (part.items.len() - unreadable.len()) as u64 - part.outcome;
            stored.unreadable.extend(unreadable);
        }
        Ok(stored)
    }
}

impl Writer for DeliveryStore {
    type Item = DeliveryRecord;
    type Outcome = u64;

    async fn write(
        &self,
        transaction: &mut PgConnection,
        part: &[DeliveryRecord],
    ) -> Result<u64, WriteError> {
        let latest = latest(part);
        // All records may be unreadable. There is nothing to write then, but the offsets advance.
        if latest.is_empty() {
            return Ok(0);
        }
        Ok(upsert_deliveries(transaction, &latest).await?)
    }

    fn reject(&self, record: &mut DeliveryRecord, fault: &Fault) {
        // The record stays in the batch without its event, so that its offset is still stored.
        *record = Err(fault.code());
    }
}

/// Returns the latest event of each order, sorted by order id. Two writers that lock rows in the same
/// sequence may wait for each other but cannot deadlock.
fn latest(part: &[DeliveryRecord]) -> Vec<&DeliveryEvent> {
    let mut events: Vec<_> = part.iter().filter_map(|record| record.as_ref().ok()).collect();
    events.sort_unstable_by_key(|event| (&event.order_id, event.at, event.number));
    events
        .chunk_by(|one, next| one.order_id == next.order_id)
        .filter_map(|events| events.last().copied())
        .collect()
}

/// Writes the deliveries that are later than the stored ones, and returns their number.
async fn upsert_deliveries(
    connection: &mut PgConnection,
    latest: &[&DeliveryEvent],
) -> Result<u64, sqlx::Error> {
    let written = sqlx::query_file!(
        "queries/upsert_deliveries.sql",
        latest.iter().map(|it| it.order_id.as_str()).bind_iter() as _,
        latest.iter().map(|it| it.at).bind_iter() as _,
        latest.iter().map(|it| it.number).bind_iter() as _,
        latest.iter().map(|it| it.status.as_str()).bind_iter() as _,
        latest.iter().map(|it| it.courier_id.map(|id| id.get())).bind_iter() as _,
        latest.iter().map(|it| it.transport_type.map(Transport::as_str)).bind_iter() as _,
        latest.iter().map(|it| it.deadline).bind_iter() as _,
        latest.iter().map(|it| it.cause.map(DeliveryCause::as_str)).bind_iter() as _,
    );
    Ok(written.execute(connection).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use events::DeliveryStatus;
    use proptest::{collection::vec, prelude::*};
    use time::{Duration, macros::datetime};

    use super::*;

    fn event(order: u8, second: i64, number: i64) -> DeliveryEvent {
        DeliveryEvent {
            order_id: order.to_string().parse().unwrap(),
            courier_id: None,
            status: DeliveryStatus::Assigned,
            at: datetime!(2025-08-06 12:00 UTC) + Duration::seconds(second),
            number,
            transport_type: None,
            deadline: None,
            cause: None,
        }
    }

    proptest! {
        #[test]
        fn the_latest_event_of_each_order_remains(
            (events, mixed) in vec((0..3_u8, 0..3_i64, 1..4_i64), 0..20)
                .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
        ) {
            let record = |(order, second, number): (u8, i64, i64)| Ok(event(order, second, number));
            let batch: Vec<DeliveryRecord> =
                events.iter().copied().map(record).chain([Err("number")]).collect();
            let mixed: Vec<DeliveryRecord> = mixed.into_iter().map(record).collect();
            let remaining = latest(&batch);

            prop_assert_eq!(&remaining, &latest(&mixed));
            prop_assert!(remaining.windows(2).all(|two| two[0].order_id < two[1].order_id));
            for one in batch.iter().flatten() {
                let kept = remaining.iter().find(|kept| kept.order_id == one.order_id).unwrap();
                prop_assert!((kept.at, kept.number) >= (one.at, one.number));
            }
        }
    }
}
