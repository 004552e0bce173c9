//! Ingest: the flow of the orders topic through the order service.
//!
//! ```text
//! record ─parse─▶ order or rejection ─▶ batch ─commit─▶ committed ─▶ cache ─settle─▶ published ─▶ offsets
//! ```
//!
//! The consumer runs this flow as the [`Pipeline`] of [`Ingest`]. How a record becomes an order is in
//! [`order`](crate::order), how orders are read in [`lookup`](crate::lookup).

pub(crate) mod copied_row;
pub(crate) mod publish;
pub(crate) mod store;
pub(crate) mod upsert;

use std::sync::Arc;

use chassis::{
    kafka::{consumer::Pipeline, producer::Producer, record::Record},
    postgres::transaction,
    rejected::{self, Original},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use sqlx::PgPool;

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
        /// Orders that are odd without being invalid
        warnings: Family<Warning, Counter> = "waybill_order_warnings",
        /// Unknown fields dropped
        unknown_fields: Counter = "waybill_unknown_fields",
    }
}

impl IngestMetrics {
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

/// The parts that ingest works with.
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
        let mut committed = self.store.commit(batch).await?;
        self.lookup.admit(committed.take_views());
        Ok(committed)
    }

    async fn settle(&self, committed: Committed) -> anyhow::Result<Published> {
        let published = publish(&self.producer, &self.topics, &committed).await?;
        self.metrics.count(&committed);
        Ok(published)
    }
}
