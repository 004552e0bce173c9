//! Ingest: the orders topic into PostgreSQL, and the events that follow onto the status topic.
//!
//! ```text
//! record ─parse─▶ order or rejection ─▶ batch ─commit─▶ committed ─▶ cache ─settle─▶ published ─▶ offsets
//! ```
//!
//! The consumer runs this flow as the [`Pipeline`] of [`Ingest`]. This folder has no rules about
//! orders (they are in [`order`](crate::order)) and does not answer requests: orders are read in
//! [`lookup`](crate::lookup).

pub(crate) mod copied_row;
pub(crate) mod publish;
pub(crate) mod store;
pub(crate) mod upsert;

use std::sync::Arc;

use chassis::{
    kafka::{
        consumer::Pipeline,
        producer::Producer,
        record::{Record, instant},
    },
    postgres::transaction,
    process::failpoint,
    rejected::{self, Original},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    ingest::{
        copied_row::EncodedOrder,
        publish::{Published, Topics, publish},
        store::{Committed, Store},
    },
    lookup::Lookup,
    order::{
        parse::parse,
        violation::{Rejection, internal_error},
    },
};

/// A parsed record. A rejection needs the bytes as received, and so does an order, because the
/// database may still refuse it.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) original: Original,
    pub(crate) content: Content,
}

impl Incoming {
    /// Returns the record with its rejection, if it was rejected.
    pub(crate) fn rejected(&self) -> Option<(&Original, &Rejection)> {
        match &self.content {
            Content::Order(_) => None,
            Content::Rejection(rejection) => Some((&self.original, rejection)),
        }
    }
}

/// A valid order, or the reasons why the record is not one.
#[derive(Debug)]
pub(crate) enum Content {
    Order(Box<EncodedOrder>),
    Rejection(Rejection),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Warning {
    warning: &'static str,
}

chassis::metrics! {
    pub(crate) struct IngestMetrics {
        commit: transaction::CommitMetrics => transaction::CommitMetrics::register,
        rejections: rejected::RejectionMetrics => rejected::RejectionMetrics::register,
        /// Valid records committed and published
        orders: Counter = "waybill_orders_committed",
        /// Valid records that changed nothing because a record of the same order with a greater timestamp, partition and offset was already stored
        superseded: Counter = "waybill_orders_superseded",
        /// Warnings about valid orders, such as sums that do not add up
        warnings: Family<Warning, Counter> = "waybill_order_warnings",
        /// Fields of valid orders that the model does not have, dropped
        unknown_fields: Counter = "waybill_unknown_fields",
        /// Seconds from the Kafka timestamp of a valid record until its order can be read
        freshness: Histogram = "waybill_order_freshness_seconds"
            from Histogram::new(exponential_buckets(0.001, 2.0, 24)),
    }
}

impl IngestMetrics {
    /// Counts the time that orders took until they could be read. It is 0 for a record from the
    /// future: the clock of Kafka or of a producer may be ahead.
    fn count_freshness(&self, timestamps_ms: &[i64]) {
        let now = OffsetDateTime::now_utc();
        for timestamp_ms in timestamps_ms {
            let age = now - instant(*timestamp_ms);
            self.freshness.observe(age.as_seconds_f64().max(0.0));
        }
    }

    fn count(&self, committed: &Committed) {
        let orders = committed.orders();
        self.orders.inc_by(orders.len() as u64);
        self.superseded.inc_by(committed.superseded() as u64);
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

/// The pipeline of the orders topic.
pub(crate) struct Ingest {
    store: Store,
    topics: Topics,
    producer: Producer,
    lookup: Arc<Lookup>,
    metrics: IngestMetrics,
}

impl Ingest {
    pub(crate) fn new(
        pool: PgPool,
        topics: Topics,
        producer: Producer,
        lookup: Arc<Lookup>,
        metrics: IngestMetrics,
    ) -> Self {
        let (commit, rejections) = (metrics.commit.clone(), metrics.rejections.clone());
        let store = Store::new(pool, topics.orders.clone(), commit, rejections);
        Self { store, topics, producer, lookup, metrics }
    }

    fn incoming(&self, record: Record<'_>, content: Content) -> (Incoming, usize) {
        let original = Original::of(&record, &self.metrics.rejections);
        let bytes = original.size();
        (Incoming { original, content }, bytes)
    }
}

impl Pipeline for Ingest {
    type Item = Incoming;
    type Committed = Committed;
    type Receipt = Published;

    fn parse(&self, record: Record<'_>) -> (Incoming, usize) {
        let content = match parse(record.value) {
            Ok(order) => Content::Order(Box::new(order.into())),
            Err(rejection) => Content::Rejection(rejection),
        };
        self.incoming(record, content)
    }

    fn reject_panicked(&self, record: Record<'_>) -> (Incoming, usize) {
        self.incoming(record, Content::Rejection(internal_error()))
    }

    async fn commit(&self, batch: Vec<Incoming>) -> anyhow::Result<Committed> {
        let orders = batch.iter().filter(|one| matches!(one.content, Content::Order(_)));
        let timestamps_ms: Vec<_> = orders.map(|one| one.original.position.timestamp_ms).collect();
        let mut committed = self.store.commit(batch).await?;
        failpoint::async_point("cache-update").await;
        // After the commit, so the cache never holds an order that a rollback removed. Before the
        // events are published, so when an event can be read, this replica's cache is up to date.
        let (views, confirmation) = committed.take_views();
        self.lookup.admit(views, confirmation);
        self.metrics.count_freshness(&timestamps_ms);
        Ok(committed)
    }

    async fn settle(&self, committed: Committed) -> anyhow::Result<Published> {
        failpoint::async_point("before-publish").await;
        let published = publish(&self.producer, &self.topics, &committed).await?;
        // Counted last: the metrics count records that are committed and published. A batch that is
        // delivered again is counted again.
        self.metrics.count(&committed);
        Ok(published)
    }
}
