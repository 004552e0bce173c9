//! The delivery consumer: the flow of the deliveries topic through the order service.
//!
//! ```text
//! record ─parse─▶ event ─▶ batch ─commit─▶ stored ─▶ offsets
//! ```
//!
//! A record that is not a readable event, for example of another program, is counted and skipped.
//! This consumer publishes nothing.

use chassis::{
    kafka::{consumer::Pipeline, record::Record},
    postgres::transaction::{self, Fault},
};
use events::DeliveryEvent;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use sqlx::PgPool;

use crate::deliveries::store::{DeliveryRecord, DeliveryStore, StoredDeliveries};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnreadableLabel {
    reason: &'static str,
}

chassis::metrics! {
    pub(crate) struct DeliveryMetrics {
        // The prefix distinguishes these metrics from those of the other consumers. The metrics of
        // this topic's consumer have the same prefix.
        commit: transaction::CommitMetrics => |registry| {
            transaction::CommitMetrics::register(registry.sub_registry_with_prefix("deliveries"))
        },
        /// Deliveries of orders written, inserted or replaced by a later event
        written: Counter = "waybill_deliveries_written",
        /// Delivery events that changed nothing, because a later one of their order was known
        superseded: Counter = "waybill_delivery_events_superseded",
        /// Records of the deliveries topic that are not readable events, skipped
        unreadable: Family<UnreadableLabel, Counter> = "waybill_delivery_events_unreadable",
    }
}

impl DeliveryMetrics {
    fn count(&self, stored: &StoredDeliveries) {
        self.written.inc_by(stored.written());
        self.superseded.inc_by(stored.superseded());
        for reason in stored.unreadable() {
            self.unreadable.get_or_create(&UnreadableLabel { reason }).inc();
        }
    }
}

/// The pipeline of the deliveries topic.
pub(crate) struct DeliveryConsumer {
    store: DeliveryStore,
    metrics: DeliveryMetrics,
}

impl DeliveryConsumer {
    pub(crate) fn new(pool: PgPool, metrics: DeliveryMetrics) -> Self {
        Self { store: DeliveryStore::new(pool, metrics.commit.clone()), metrics }
    }
}

impl Pipeline for DeliveryConsumer {
    type Item = DeliveryRecord;
    type Committed = StoredDeliveries;
    type Receipt = StoredDeliveries;

    fn parse(&self, record: Record<'_>) -> (DeliveryRecord, usize) {
        let event = DeliveryEvent::read(record.value).inspect_err(|code| {
            tracing::debug!(
                partition = record.position.partition,
                offset = record.position.offset,
                "skipping a record that is not a readable delivery event: {code}"
            );
        });
        // A record without an event stays in the batch, so that its offset is stored with those of
        // the other records.
        (event, record.value.map_or(0, <[u8]>::len))
    }

    fn reject_panicked(&self, _record: Record<'_>) -> (DeliveryRecord, usize) {
        (Err(Fault::Panic.code()), 0)
    }

    async fn commit(&self, batch: Vec<DeliveryRecord>) -> anyhow::Result<StoredDeliveries> {
        let stored = self.store.store(batch).await?;
        // Counted after the commit: a batch counts once, however often its transaction was retried.
        // A batch that is delivered again counts again.
        self.metrics.count(&stored);
        Ok(stored)
    }

    /// Returns the batch as its own receipt: a stored event needs no further step.
    async fn settle(&self, stored: StoredDeliveries) -> anyhow::Result<StoredDeliveries> {
        Ok(stored)
    }
}
