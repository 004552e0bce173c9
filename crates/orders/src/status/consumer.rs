//! Hearing: record → event → batch → recorded → offsets.
//!
//! What the status topic tells, this service's own events and those of others alike. An event that
//! cannot be read is counted and passed over: keeping and dead-lettering it is the courier
//! service's task.

use std::sync::Arc;

use chassis::{
    kafka::{
        config::KafkaConfig,
        consumer::{self, Subscription},
        record::Record,
    },
    postgres::transaction,
};
use events::StatusEvent;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::status::{
    store::{Content, Heard, Recorded, Recorder},
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
    pub(crate) struct Metrics {
        // With the prefix that the metrics of this topic's consumer have.
        commit: transaction::Metrics
            => |registry| transaction::Metrics::register(registry.sub_registry_with_prefix("status")),
        /// Status events that moved their order on
        advanced: Counter = "waybill_status_events_advanced",
        /// Status events recorded and ignored
        ignored: Family<Why, Counter> = "waybill_status_events_ignored",
        /// Records of the status topic that are no event, passed over
        unreadable: Family<Rule, Counter> = "waybill_status_events_unreadable",
    }
}

impl Metrics {
    fn count(&self, recorded: &Recorded) {
        let ignored = recorded.verdicts.iter().flatten();
        self.advanced.inc_by((recorded.verdicts.len() - ignored.clone().count()) as u64);
        for reason in ignored {
            self.ignored.get_or_create(&Why { reason: *reason }).inc();
        }
        for reason in &recorded.unreadable {
            self.unreadable.get_or_create(&Rule { reason }).inc();
        }
    }
}

/// Runs until `shutdown`.
pub(crate) async fn run(
    kafka: KafkaConfig,
    subscription: Subscription,
    consumed: consumer::Metrics,
    metrics: Metrics,
    pool: PgPool,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let topic = subscription.topic.clone();
    let recorder = Arc::new(Recorder::new(pool, topic, metrics.commit.clone()));
    let write = move |batch: Vec<Heard>| {
        let (metrics, recorder) = (metrics.clone(), recorder.clone());
        async move {
            let recorded: Recorded = recorder.record(batch).await;
            metrics.count(&recorded);
            recorded
        }
    };
    // Nothing follows from it.
    let settle = |recorded: Recorded| std::future::ready(Ok(recorded));
    consumer::consume(&kafka, subscription, consumed, decode, write, settle, shutdown).await
}

fn decode(record: Record<'_>) -> (Heard, usize) {
    let content = match StatusEvent::read(record.value) {
        Ok(event) => Content::Event(event),
        Err(violations) => {
            let position = record.position;
            let code = violations.first().map_or("unknown", |violation| violation.code);
            tracing::debug!(
                partition = position.partition,
                offset = position.offset,
                "passing over a record that is no event: {code}"
            );
            Content::Unreadable(code)
        }
    };
    (Heard { position: record.position, content }, record.value.map_or(0, <[u8]>::len))
}
