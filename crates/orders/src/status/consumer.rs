//! The status consumer: the flow of the status topic through the order service.
//!
//! ```text
//! record ─parse─▶ event ─▶ batch ─commit─▶ recorded ─▶ offsets
//! ```
//!
//! It records this service's own events and those of others alike. An event that cannot be read is
//! counted and passed over: keeping and dead-lettering it is the task of the courier service.

use chassis::{
    kafka::{consumer::Pipeline, record::Record},
    postgres::transaction::{self, Fault},
};
use events::StatusEvent;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use sqlx::PgPool;

use crate::status::{
    store::{Recorded, Recorder, StatusRecord},
    verdict::Ignored,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: Ignored,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rule {
    reason: &'static str,
}

chassis::metrics! {
    pub(crate) struct StatusMetrics {
        // With the prefix that the metrics of this topic's consumer have.
        commit: transaction::CommitMetrics
            => |registry| transaction::CommitMetrics::register(registry.sub_registry_with_prefix("status")),
        /// Status events that moved their order on
        advanced: Counter = "waybill_status_events_advanced",
        /// Status events recorded and ignored
        ignored: Family<Why, Counter> = "waybill_status_events_ignored",
        /// Records of the status topic that are no event, passed over
        unreadable: Family<Rule, Counter> = "waybill_status_events_unreadable",
    }
}

impl StatusMetrics {
    fn count(&self, recorded: &Recorded) {
        let ignored = recorded.verdicts().iter().flatten();
        self.advanced.inc_by((recorded.verdicts().len() - ignored.clone().count()) as u64);
        for reason in ignored {
            self.ignored.get_or_create(&Why { reason: *reason }).inc();
        }
        for reason in recorded.unreadable() {
            self.unreadable.get_or_create(&Rule { reason }).inc();
        }
    }
}

/// The parts that the status consumer works with.
pub(crate) struct StatusConsumer {
    recorder: Recorder,
    metrics: StatusMetrics,
}

impl StatusConsumer {
    pub(crate) fn new(pool: PgPool, topic: String, metrics: StatusMetrics) -> Self {
        Self { recorder: Recorder::new(pool, topic, metrics.commit.clone()), metrics }
    }
}

impl Pipeline for StatusConsumer {
    type Item = StatusRecord;
    type Committed = Recorded;
    type Receipt = Recorded;

    fn parse(&self, record: Record<'_>) -> (StatusRecord, usize) {
        let position = record.position;
        let event = StatusEvent::read(record.value).map_err(|violations| {
            let code = violations.first().map_or("unknown", |violation| violation.code);
            tracing::debug!(
                partition = position.partition,
                offset = position.offset,
                "passing over a record that is no event: {code}"
            );
            code
        });
        (StatusRecord { position, event }, record.value.map_or(0, <[u8]>::len))
    }

    fn reject_panicked(&self, record: Record<'_>) -> (StatusRecord, usize) {
        (StatusRecord { position: record.position, event: Err(Fault::Panic.code()) }, 0)
    }

    async fn commit(&self, batch: Vec<StatusRecord>) -> anyhow::Result<Recorded> {
        let recorded = self.recorder.record(batch).await?;
        self.metrics.count(&recorded);
        Ok(recorded)
    }

    /// Returns the receipt: nothing follows from a recorded event.
    async fn settle(&self, recorded: Recorded) -> anyhow::Result<Recorded> {
        Ok(recorded)
    }
}
