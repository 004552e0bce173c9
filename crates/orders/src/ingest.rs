//! Ingest: record → message → order → batch → committed → cache → published → offsets.

use std::sync::Arc;

use chassis::{
    consumer::{self, Position, Record, Subscription},
    kafka::KafkaConfig,
    producer::Producer,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    lookup::Lookup,
    publish::{Published, Topics, publish},
    record::{ValidOrder, parse},
    rejected::RejectedId,
    rejection::Rejection,
    store,
};

/// A record and what it turned out to be.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) position: Position,
    pub(crate) content: Content,
    /// The record's key.
    pub(crate) key: Option<Vec<u8>>,
    /// The record's value, as it came.
    pub(crate) value: Option<Vec<u8>>,
    /// The rejected record that this one replays.
    pub(crate) replay: Option<Replay>,
}

/// The header of a replay: which rejected record it is of.
pub(crate) const REPLAY_OF: &str = "waybill.replay.of";
/// Given by a replay that has another body than the record had.
pub(crate) const REPLAY_EDITED: &str = "waybill.replay.edited";

/// What the headers of a replay tell.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) of: RejectedId,
    pub(crate) edited: bool,
}

/// An order, or why it is none.
#[derive(Debug)]
pub(crate) enum Content {
    Order(Box<ValidOrder>),
    Rejection(Rejection),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Warning {
    warning: &'static str,
}

/// What ingest counts.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    orders: Counter,
    rejections: Family<Reason, Counter>,
    warnings: Family<Warning, Counter>,
    unknown_fields: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            orders: Counter::default(),
            rejections: Family::default(),
            warnings: Family::default(),
            unknown_fields: Counter::default(),
        };
        registry.register(
            "waybill_orders_committed",
            "Valid records committed and published",
            metrics.orders.clone(),
        );
        registry.register(
            "waybill_records_rejected",
            "Records rejected",
            metrics.rejections.clone(),
        );
        registry.register(
            "waybill_order_warnings",
            "Orders that are odd without being invalid",
            metrics.warnings.clone(),
        );
        registry.register(
            "waybill_unknown_fields",
            "Unknown fields dropped",
            metrics.unknown_fields.clone(),
        );
        metrics
    }

    fn count(&self, incoming: &[Incoming]) {
        for incoming in incoming {
            match &incoming.content {
                Content::Order(order) => {
                    self.orders.inc();
                    self.unknown_fields.inc_by(u64::from(order.unknown_fields));
                    for warning in &order.warnings {
                        self.warnings.get_or_create(&Warning { warning }).inc();
                    }
                }
                Content::Rejection(rejection) => {
                    self.rejections.get_or_create(&Reason { reason: rejection.reason }).inc();
                }
            }
        }
    }
}

/// Runs until `shutdown`.
#[expect(clippy::too_many_arguments, reason = "the flow's parts, each named once, wired in `run`")]
pub(crate) async fn run(
    kafka: &KafkaConfig,
    subscription: Subscription,
    consumed: consumer::Metrics,
    metrics: Metrics,
    topics: Topics,
    pool: PgPool,
    producer: Producer,
    lookup: Arc<Lookup>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let write = move |batch: Vec<Incoming>| {
        let (metrics, topics, pool, producer, lookup) =
            (metrics.clone(), topics.clone(), pool.clone(), producer.clone(), lookup.clone());
        async move {
            let committed = store::commit(&pool, &topics.orders, batch).await;
            lookup.admit(&committed);
            let published: Published = publish(&producer, &topics, &committed).await?;
            metrics.count(committed.incoming());
            Ok(published)
        }
    };
    consumer::consume(kafka, subscription, consumed, decode, write, shutdown).await
}

/// Turns a record into what it is. Only a rejection, and an order that the database may yet refuse,
/// need the bytes as they came.
fn decode(record: Record<'_>) -> (Incoming, usize) {
    let content = match parse(record.value) {
        Ok(order) => Content::Order(Box::new(order)),
        Err(rejection) => Content::Rejection(rejection),
    };
    let bytes = record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len);
    let incoming = Incoming {
        position: record.position,
        content,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        replay: record
            .header(REPLAY_OF)
            .and_then(|of| of.parse().ok())
            .map(|of| Replay { of, edited: record.header(REPLAY_EDITED).is_some() }),
    };
    (incoming, bytes)
}
