//! Intake: record → event → batch → committed → dead letters → offsets.
//!
//! The transport alone: what a status does stands in [`delivery`](crate::delivery), how that is
//! written in [`store`](crate::store).

mod rejection;

use chassis::{
    kafka::{
        config::KafkaConfig,
        consumer::{self, Receipt, Subscription},
        producer::{Producer, retry_forever},
        record::{Record, instant},
    },
    postgres::transaction::{self, WriteError, Writer},
    process::crash,
    rejected::{self, Original, Rejection, dead_letter},
};
use events::{StatusEvent, StatusWord};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::{
    delivery,
    dispatch::{MatchCursor, Wake},
    store,
};

/// A record and what it turned out to be.
struct Incoming {
    original: Original,
    content: Result<StatusEvent, Rejection>,
}

impl Incoming {
    /// Why it was rejected, if it was.
    fn rejected(&self) -> Option<(&Original, &Rejection)> {
        self.content.as_ref().err().map(|rejection| (&self.original, rejection))
    }
}

/// The topics.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) status: String,
    pub(crate) dead_letters: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

/// What intake counts.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    commit: transaction::Metrics,
    events: Family<Status, Counter>,
    rejections: rejected::Metrics,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            commit: transaction::Metrics::register(registry),
            events: Family::default(),
            rejections: rejected::Metrics::register(registry),
        };
        registry.register("waybill_status_events", "Events taken in", metrics.events.clone());
        metrics
    }

    fn count(&self, incoming: &[Incoming]) {
        for incoming in incoming {
            match &incoming.content {
                Ok(event) => {
                    let status = match event.word {
                        StatusWord::Status(status) => status.as_str(),
                        StatusWord::Updated => "updated",
                        StatusWord::Unknown => "unknown",
                    };
                    self.events.get_or_create(&Status { status }).inc();
                }
                Err(rejection) => self.rejections.count(rejection),
            }
        }
    }
}

/// A batch that is committed.
struct Committed(Vec<Incoming>);

/// The proof that a batch is committed and that its dead letters are sent.
struct Settled(());

impl Receipt for Settled {}

/// What intake works with.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(crate) topics: Topics,
    pub(crate) pool: PgPool,
    pub(crate) producer: Producer,
    pub(crate) wake: Wake,
    pub(crate) metrics: Metrics,
}

impl Intake {
    /// Runs until `shutdown`.
    pub(crate) async fn run(
        self,
        kafka: &KafkaConfig,
        subscription: Subscription,
        consumed: consumer::Metrics,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let intake = self.clone();
        let write = move |batch| {
            let intake = intake.clone();
            async move { intake.commit(batch).await }
        };
        let settle = move |committed| {
            let intake = self.clone();
            async move { intake.settle(committed).await }
        };
        consumer::consume(kafka, subscription, consumed, decode, write, settle, shutdown).await
    }

    async fn commit(&self, batch: Vec<Incoming>) -> Committed {
        let events = EventsOf(&self.topics.status);
        let parts = transaction::commit(&self.pool, &events, &self.metrics.commit, batch).await;
        self.wake.wake(
            parts.iter().map(|part| part.outcome).fold(MatchCursor::END, MatchCursor::earlier),
        );
        Committed(parts.into_iter().flat_map(|part| part.items).collect())
    }

    async fn settle(&self, Committed(incoming): Committed) -> anyhow::Result<Settled> {
        self.send_dead_letters(&incoming).await?;
        self.metrics.count(&incoming);
        Ok(Settled(()))
    }

    /// Waits until Kafka has acknowledged them, however long that takes. Only a producer that
    /// failed for good is an error.
    async fn send_dead_letters(&self, incoming: &[Incoming]) -> anyhow::Result<()> {
        let Topics { status, dead_letters } = &self.topics;
        let rejected: Vec<_> = incoming.iter().filter_map(Incoming::rejected).collect();
        retry_forever(|| dead_letter::send(&self.producer, status, dead_letters, &rejected))
            .await?;
        crash::point("after-publish");
        Ok(())
    }
}

/// Turns a record into what it is.
fn decode(record: Record<'_>) -> (Incoming, usize) {
    let content = StatusEvent::read(record.value).map_err(rejection::of);
    let original = Original::of(&record);
    let bytes = original.size();
    (Incoming { original, content }, bytes)
}

/// Writes events of this topic.
struct EventsOf<'a>(&'a str);

impl Writer for EventsOf<'_> {
    type Item = Incoming;
    type Outcome = MatchCursor;

    async fn write(
        &self,
        transaction: &mut PgConnection,
        part: &[Incoming],
    ) -> Result<MatchCursor, WriteError> {
        let statuses = part.iter().filter_map(|incoming| {
            let event = incoming.content.as_ref().ok()?;
            let StatusWord::Status(status) = event.word else { return None };
            Some((&event.order_id, status, instant(incoming.original.position.timestamp_ms)))
        });
        let cursor = store::apply(transaction, &delivery::fold(statuses)).await?;
        let refused = part.iter().filter_map(Incoming::rejected).collect();
        rejected::insert(transaction, self.0, refused).await?;
        rejected::note_replays(transaction, part.iter().map(|one| &one.original)).await?;
        Ok(cursor)
    }

    fn refuse(&self, item: &mut Incoming, sqlstate: &str) {
        item.content = Err(rejection::refused_by_database(sqlstate));
    }
}
