//! The status consumer: the flow of the status topic through the order service.
//!
//! ```text
//! record ─parse─▶ event ─▶ batch ─commit─▶ recorded ─▶ offsets
//! ```
//!
//! It records events of this service and events of other services alike, with one exception: it skips
//! the `created` events of this service, because a stored order is `created`. A record that is not a
//! readable event is counted and skipped: the courier service, which consumes the same topic,
//! stores it as a rejected record and sends it to a dead-letter topic. This consumer publishes
//! nothing.

use chassis::{
    kafka::{consumer::Pipeline, record::Record},
    postgres::transaction::{self, Fault},
    process::failpoint,
};
use events::{EventType, StatusEvent};
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
struct IgnoredLabel {
    reason: Ignored,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnreadableLabel {
    reason: &'static str,
}

chassis::metrics! {
    pub(crate) struct StatusMetrics {
        // The prefix distinguishes these metrics from those of ingest. The metrics of this topic's
        // consumer have the same prefix.
        commit: transaction::CommitMetrics
            => |registry| transaction::CommitMetrics::register(registry.sub_registry_with_prefix("status")),
        /// Status events recorded that changed the status of their order
        advanced: Counter = "waybill_status_events_advanced",
        /// Status events recorded that did not change the status of their order
        ignored: Family<IgnoredLabel, Counter> = "waybill_status_events_ignored",
        /// Records of the status topic that are not readable events, skipped
        unreadable: Family<UnreadableLabel, Counter> = "waybill_status_events_unreadable",
    }
}

impl StatusMetrics {
    fn count(&self, recorded: &Recorded) {
        let ignored = recorded.verdicts().iter().flatten();
        self.advanced.inc_by((recorded.verdicts().len() - ignored.clone().count()) as u64);
        for reason in ignored {
            self.ignored.get_or_create(&IgnoredLabel { reason: *reason }).inc();
        }
        for reason in recorded.unreadable() {
            self.unreadable.get_or_create(&UnreadableLabel { reason }).inc();
        }
    }
}

/// The pipeline of the status topic.
pub(crate) struct StatusConsumer {
    recorder: Recorder,
    /// The header `ce_source` of this installation's events.
    source: String,
    metrics: StatusMetrics,
}

impl StatusConsumer {
    pub(crate) fn new(pool: PgPool, topic: String, source: String, metrics: StatusMetrics) -> Self {
        let recorder = Recorder::new(pool, topic, metrics.commit.clone());
        Self { recorder, source, metrics }
    }
}

/// Returns true for a `created` event of the installation whose events have this `ce_source`. It is
/// not recorded: the row of the order says the same, and the history shows it.
pub(crate) fn is_own_creation(record: Record<'_>, source: &str) -> bool {
    let headers = record.headers();
    headers.get("ce_type") == Some(EventType::Created.as_str())
        && headers.get("ce_source") == Some(source)
}

impl Pipeline for StatusConsumer {
    type Item = StatusRecord;
    type Committed = Recorded;
    type Receipt = Recorded;

    fn skips(&self, record: Record<'_>) -> bool {
        is_own_creation(record, &self.source)
    }

    fn parse(&self, record: Record<'_>) -> (StatusRecord, usize) {
        let position = record.position;
        let event = StatusEvent::read(record.value).map_err(|violations| {
            let code = violations.first().map_or("unknown", |violation| violation.code);
            tracing::debug!(
                partition = position.partition,
                offset = position.offset,
                "skipping a record that is not a readable event: {code}"
            );
            code
        });
        // A record without an event stays in the batch, so that its offset is stored with those of
        // the other records.
        (StatusRecord { position, event }, record.value.map_or(0, <[u8]>::len))
    }

    fn reject_panicked(&self, record: Record<'_>) -> (StatusRecord, usize) {
        (StatusRecord { position: record.position, event: Err(Fault::Panic.code()) }, 0)
    }

    async fn commit(&self, batch: Vec<StatusRecord>) -> anyhow::Result<Recorded> {
        let recorded = self.recorder.record(batch).await?;
        failpoint::async_point("status-recorded").await;
        // Counted after the commit: a batch counts once, however often its transaction was retried.
        // A batch that is delivered again counts again.
        self.metrics.count(&recorded);
        Ok(recorded)
    }

    /// Returns the batch as its own receipt: a recorded event needs no further step.
    async fn settle(&self, recorded: Recorded) -> anyhow::Result<Recorded> {
        Ok(recorded)
    }
}
