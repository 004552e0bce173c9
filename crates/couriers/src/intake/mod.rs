//! Intake: the flow of the status topic through the courier service.
//!
//! ```text
//! record ─parse─▶ event or rejection ─▶ batch ─commit─▶ committed ─settle─▶ dead letters ─▶ offsets
//! ```
//!
//! This module only parses, commits and sends dead letters. The effect of a status is in [`delivery`](crate::delivery),
//! its SQL is in [`store`](crate::store), and the consumer with its retries is in
//! [`chassis::kafka`].

pub(crate) mod rejection;

use chassis::{
    kafka::{
        consumer::{Pipeline, Receipt},
        producer::Producer,
        record::Record,
    },
    postgres::transaction::{self, Fault, WriteError, Writer},
    process::failpoint,
    rejected::{self, Original, Outcome, Rejection, dead_letter},
};
use events::{OrderStatus, StatusEvent, StatusWord};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use sqlx::{PgConnection, PgPool};

use crate::{
    delivery,
    dispatch::{MatchCursor, Wake},
    store,
};

/// A record as received, with its event or with its rejection.
pub(crate) struct Incoming {
    original: Original,
    content: Result<StatusEvent, Rejection>,
}

impl Incoming {
    fn rejected(&self) -> Option<(&Original, &Rejection)> {
        self.content.as_ref().err().map(|rejection| (&self.original, rejection))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) status: String,
    pub(crate) dead_letters: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

chassis::metrics! {
    pub(crate) struct IntakeMetrics {
        commit: transaction::CommitMetrics => transaction::CommitMetrics::register,
        rejections: rejected::RejectionMetrics => rejected::RejectionMetrics::register,
        /// Status events that were read and committed
        events: Family<Status, Counter> = "waybill_status_events",
    }
}

impl IntakeMetrics {
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

/// A batch that is in the database. Its field is private, so that only this module can make one,
/// and nothing is settled before it is committed.
pub(crate) struct Committed(Vec<Incoming>);

/// The proof that a batch is committed and that its dead letters are acknowledged. Its field is
/// private, so that only this module can make one, and no offset is stored before that.
pub(crate) struct Settled(());

impl Receipt for Settled {}

/// Intake, with the connections and handles that it uses.
pub(crate) struct Intake {
    pub(crate) topics: Topics,
    pub(crate) pool: PgPool,
    pub(crate) producer: Producer,
    pub(crate) wake: Wake,
    pub(crate) metrics: IntakeMetrics,
}

impl Pipeline for Intake {
    type Item = Incoming;
    type Committed = Committed;
    type Receipt = Settled;

    fn parse(&self, record: Record<'_>) -> (Incoming, usize) {
        // A record that is not a valid event is a value, not an error: it stays in its batch, and
        // is stored as rejected in the transaction that applies the valid events of the batch.
        self.incoming(record, StatusEvent::read(record.value).map_err(rejection::of))
    }

    fn reject_panicked(&self, record: Record<'_>) -> (Incoming, usize) {
        self.incoming(record, Err(rejection::for_fault(&Fault::Panic)))
    }

    async fn commit(&self, batch: Vec<Incoming>) -> anyhow::Result<Committed> {
        let (topic, metrics) = (self.topics.status.as_str(), &self.metrics.rejections);
        let events = EventWriter { topic, metrics };
        let parts = transaction::commit(&self.pool, &events, &self.metrics.commit, batch).await?;
        failpoint::async_point("before-wake").await;
        // After the commit, because a match that began before it would not see these rows.
        // Dispatch is woken even if nothing changed, because a match may have skipped rows that
        // these transactions had locked. If the process ends before this line, the next sweep takes the place of the
        // wake-up.
        self.wake.wake(
            parts.iter().map(|part| part.outcome).fold(MatchCursor::END, MatchCursor::earlier),
        );
        Ok(Committed(parts.into_iter().flat_map(|part| part.items).collect()))
    }

    async fn settle(&self, Committed(incoming): Committed) -> anyhow::Result<Settled> {
        // The dead letters are acknowledged before the offsets are stored. If the process ends in
        // between, the batch is delivered again: it changes no row, and its dead letters are
        // repeated.
        self.send_dead_letters(&incoming).await?;
        self.metrics.count(&incoming);
        Ok(Settled(()))
    }
}

impl Intake {
    fn incoming(
        &self,
        record: Record<'_>,
        content: Result<StatusEvent, Rejection>,
    ) -> (Incoming, usize) {
        let original = Original::of(&record, &self.metrics.rejections);
        let bytes = original.size();
        (Incoming { original, content }, bytes)
    }

    /// Sends the dead letters, and waits without limit until Kafka has acknowledged them. Returns
    /// an error only if the producer has failed permanently.
    async fn send_dead_letters(&self, incoming: &[Incoming]) -> anyhow::Result<()> {
        let Topics { status, dead_letters } = &self.topics;
        let rejected: Vec<_> = incoming.iter().filter_map(Incoming::rejected).collect();
        dead_letter::send(&self.producer, status, dead_letters, &rejected).await?;
        failpoint::async_point("after-publish").await;
        Ok(())
    }
}

/// Writes the events and the rejections of a topic.
struct EventWriter<'a> {
    topic: &'a str,
    metrics: &'a rejected::RejectionMetrics,
}

impl Writer for EventWriter<'_> {
    type Item = Incoming;
    type Outcome = MatchCursor;

    async fn write(
        &self,
        transaction: &mut PgConnection,
        part: &[Incoming],
    ) -> Result<MatchCursor, WriteError> {
        let statuses = part.iter().filter_map(|incoming| {
            let event = incoming.content.as_ref().ok()?;
            // `updated` and unknown words have no rank, so they change nothing.
            let StatusWord::Status(status) = event.word else { return None };
            if status == OrderStatus::Cancelled && failpoint::is_skipped("guard.cancelled-applied")
            {
                return None;
            }
            Some((&event.order_id, status, incoming.original.position))
        });
        // Every batch writes the tables in this order, `rejected_records` last, so no two batches
        // deadlock across tables.
        let cursor = store::apply(transaction, self.topic, &delivery::fold(statuses)).await?;
        let refused = part.iter().filter_map(Incoming::rejected).collect();
        rejected::insert(transaction, self.topic, refused).await?;
        let read = part.iter().map(|one| {
            let rejection = one.rejected().map(|(_, rejection)| rejection);
            (&one.original, Outcome::of(rejection))
        });
        rejected::note_replays(transaction, read, self.metrics).await?;
        Ok(cursor)
    }

    fn reject(&self, item: &mut Incoming, fault: &Fault) {
        item.content = Err(rejection::for_fault(fault));
    }
}
