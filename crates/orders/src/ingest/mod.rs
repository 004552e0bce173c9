//! Ingest: record → message → order → batch → committed → cache → published → offsets.

pub(crate) mod copied_row;
pub(crate) mod publish;
pub(crate) mod store;
pub(crate) mod upsert;

use std::sync::Arc;

use chassis::{
    kafka::{
        config::KafkaConfig,
        consumer::{self, Subscription},
        producer::Producer,
        record::Record,
    },
    postgres::transaction,
    rejected::{self, Original},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    ingest::{
        publish::{Published, Topics, publish},
        store::{Committed, Store},
    },
    lookup::Lookup,
    order::{
        parse::{ValidOrder, parse},
        violation::Rejection,
    },
};

/// A record and what it turned out to be. Only a rejection, and an order that the database may yet
/// refuse, need the bytes as they came.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) original: Original,
    pub(crate) content: Content,
}

impl Incoming {
    /// Why it was rejected, if it was.
    pub(crate) fn rejected(&self) -> Option<(&Original, &Rejection)> {
        match &self.content {
            Content::Order(_) => None,
            Content::Rejection(rejection) => Some((&self.original, rejection)),
        }
    }
}

/// An order, or why it is none.
#[derive(Debug)]
pub(crate) enum Content {
    Order(Box<ValidOrder>),
    Rejection(Rejection),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Warning {
    warning: &'static str,
}

chassis::metrics! {
    pub(crate) struct Metrics {
        commit: transaction::Metrics => transaction::Metrics::register,
        rejections: rejected::Metrics => rejected::Metrics::register,
        /// Valid records committed and published
        orders: Counter = "waybill_orders_committed",
        /// Orders that are odd without being invalid
        warnings: Family<Warning, Counter> = "waybill_order_warnings",
        /// Unknown fields dropped
        unknown_fields: Counter = "waybill_unknown_fields",
    }
}

impl Metrics {
    fn count(&self, committed: &Committed) {
        let orders = committed.orders();
        self.orders.inc_by(orders.len() as u64);
        self.unknown_fields
            .inc_by(orders.iter().map(|order| u64::from(order.unknown_fields)).sum());
        for warning in orders.iter().flat_map(|order| &order.warnings) {
            self.warnings.get_or_create(&Warning { warning }).inc();
        }
        for (_, rejection) in committed.rejected() {
            self.rejections.count(rejection);
        }
    }
}

/// Runs until `shutdown`.
#[expect(clippy::too_many_arguments, reason = "the flow's parts, each named once, wired in `run`")]
pub(crate) async fn run(
    kafka: KafkaConfig,
    subscription: Subscription,
    consumed: consumer::Metrics,
    metrics: Metrics,
    topics: Topics,
    pool: PgPool,
    producer: Producer,
    lookup: Arc<Lookup>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let store = Arc::new(Store::new(pool, topics.orders.clone(), metrics.commit.clone()));
    let write = move |batch: Vec<Incoming>| {
        let (store, lookup) = (store.clone(), lookup.clone());
        async move {
            let mut committed = store.commit(batch).await;
            lookup.admit(&mut committed);
            committed
        }
    };
    let settle = move |committed: Committed| {
        let (metrics, topics, producer) = (metrics.clone(), topics.clone(), producer.clone());
        async move {
            let published: Published = publish(&producer, &topics, &committed).await?;
            metrics.count(&committed);
            Ok(published)
        }
    };
    consumer::consume(&kafka, subscription, consumed, decode, write, settle, shutdown).await
}

/// Turns a record into what it is.
fn decode(record: Record<'_>) -> (Incoming, usize) {
    let content = match parse(record.value) {
        Ok(order) => Content::Order(Box::new(order)),
        Err(rejection) => Content::Rejection(rejection),
    };
    let original = Original::of(&record);
    let bytes = original.size();
    (Incoming { original, content }, bytes)
}
