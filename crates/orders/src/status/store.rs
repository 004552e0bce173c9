//! Writes the status topic to PostgreSQL: each event once, with its verdict, and for each order the
//! status that follows. [`history`](crate::status::history) reads them.
//!
//! Only this module can make a [`Recorded`], and the consumer stores offsets only for that. Retries
//! are in [`chassis::postgres::transaction`]; the ranks of the statuses are in `events`.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use chassis::{
    kafka::{
        consumer::Receipt,
        record::{Position, instant},
    },
    postgres::{
        copy::{CopyTarget, Method, Row},
        transaction::{self, Fault, WriteError, Writer},
    },
    process::failpoint,
};
use events::{OrderStatus, OrderUid, StatusEvent, StatusWord};
use sqlx::{PgConnection, PgPool, postgres::PgBindIterExt as _};

use crate::{
    lookup::queries::parse_uid,
    status::{
        history::parse_rank,
        verdict::{Ignored, Verdict},
    },
};

/// A record of the status topic.
#[derive(Debug)]
pub(crate) struct StatusRecord {
    pub(crate) position: Position,
    /// The event, or the code of the first rule that the record broke.
    pub(crate) event: Result<StatusEvent, &'static str>,
}

/// The proof that all events of a batch are recorded. Its fields are private, so that only
/// [`Recorder::record`] makes one.
pub(crate) struct Recorded {
    verdicts: Vec<Verdict>,
    /// The codes of the records that are not events.
    unreadable: Vec<&'static str>,
}

impl Recorded {
    pub(crate) fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    pub(crate) fn unreadable(&self) -> &[&'static str] {
        &self.unreadable
    }
}

impl Receipt for Recorded {}

pub(crate) struct Recorder {
    pool: PgPool,
    topic: String,
    metrics: transaction::CommitMetrics,
    events: CopyTarget,
    statuses: CopyTarget,
}

impl Recorder {
    pub(crate) fn new(pool: PgPool, topic: String, metrics: transaction::CommitMetrics) -> Self {
        let (events, statuses) = (CopyTarget::new(COPY_EVENTS), CopyTarget::new(COPY_STATUSES));
        Self { pool, topic, metrics, events, statuses }
    }

    pub(crate) async fn record(&self, batch: Vec<StatusRecord>) -> anyhow::Result<Recorded> {
        let mut recorded = Recorded { verdicts: Vec::new(), unreadable: Vec::new() };
        for part in transaction::commit(&self.pool, self, &self.metrics, batch).await? {
            recorded.verdicts.extend(part.outcome);
            let codes = part.items.iter().filter_map(|record| record.event.as_ref().err());
            recorded.unreadable.extend(codes);
        }
        Ok(recorded)
    }
}

impl Writer for Recorder {
    type Item = StatusRecord;
    type Outcome = Vec<Verdict>;

    async fn write(
        &self,
        transaction: &mut PgConnection,
        part: &[StatusRecord],
    ) -> Result<Vec<Verdict>, WriteError> {
        let events = sorted_events(part);
        // All records may be unreadable. There is nothing to write then, but the offsets advance.
        if events.is_empty() {
            return Ok(Vec::new());
        }
        // The statuses come first. Their rows are inserted or locked until the commit, so no other
        // batch can change a status between here and the verdicts that depend on it. An order
        // without a status event in this batch is not locked: its verdicts do not depend on its
        // status.
        let before = self.advance(transaction, &highest_statuses(&events)).await?;
        let stored = stored_orders(transaction, &events).await?;
        let judged = judge(&events, &before, &stored);
        self.insert_events(transaction, &judged).await?;
        Ok(judged.iter().map(|judged| judged.verdict).collect())
    }

    fn reject(&self, record: &mut StatusRecord, fault: &Fault) {
        // The record stays in the batch without its event, so that its offset is still stored.
        record.event = Err(fault.code());
    }
}

#[derive(Clone, Copy)]
struct PositionedEvent<'a> {
    position: Position,
    event: &'a StatusEvent,
}

/// Sorts the events of a batch by order id, and for each order by Kafka's timestamp, partition and
/// offset. Two writers that lock rows in the same sequence may wait for each other but cannot
/// deadlock.
fn sorted_events(part: &[StatusRecord]) -> Vec<PositionedEvent<'_>> {
    let mut events: Vec<_> = part
        .iter()
        .filter_map(|StatusRecord { position, event }| {
            Some(PositionedEvent { position: *position, event: event.as_ref().ok()? })
        })
        .collect();
    events.sort_unstable_by_key(|it| (&it.event.order_id, it.position));
    events
}

/// Groups sorted events by order.
fn by_order<'e, 'a>(
    events: &'e [PositionedEvent<'a>],
) -> impl Iterator<Item = &'e [PositionedEvent<'a>]> {
    events.chunk_by(|one, next| one.event.order_id == next.event.order_id)
}

/// The highest status of an order in a batch, and the earliest record with this status.
#[derive(Debug, Clone, Copy)]
struct HighestStatus<'a> {
    uid: &'a OrderUid,
    status: OrderStatus,
    position: Position,
}

/// Returns the highest status of each order, sorted by order id.
fn highest_statuses<'a>(events: &[PositionedEvent<'a>]) -> Vec<HighestStatus<'a>> {
    let with_status = |it: &PositionedEvent<'a>| match it.event.word {
        StatusWord::Status(status) => {
            Some(HighestStatus { uid: &it.event.order_id, status, position: it.position })
        }
        StatusWord::Updated | StatusWord::Unknown => None,
    };
    by_order(events)
        .filter_map(|events| {
            let mut statuses = events.iter().filter_map(with_status);
            if failpoint::is_skipped("guard.highest-status") {
                return statuses.next_back();
            }
            // Of several records with the highest status the earliest counts. So the stored record
            // of a status does not depend on the sequence in which the records arrive.
            statuses.max_by_key(|it| (it.status, Reverse(it.position)))
        })
        .collect()
}

#[derive(Clone, Copy)]
struct JudgedEvent<'a> {
    position: Position,
    event: &'a StatusEvent,
    verdict: Verdict,
}

/// Judges sorted events, given the statuses that the orders had before all of them, and which of the
/// orders with a `created` event are `stored`: these are created already. Each event is judged by the
/// status that the events before it led to.
fn judge<'a>(
    events: &[PositionedEvent<'a>],
    before: &HashMap<OrderUid, OrderStatus>,
    stored: &HashSet<String>,
) -> Vec<JudgedEvent<'a>> {
    let mut judged = Vec::with_capacity(events.len());
    for events in by_order(events) {
        let order_id = &events[0].event.order_id;
        let stored = stored.contains(order_id.as_str()).then_some(OrderStatus::Created);
        let mut status = before.get(order_id).copied().max(stored);
        for &PositionedEvent { position, event } in events {
            let verdict = Ignored::judge(status, event.word);
            judged.push(JudgedEvent { position, event, verdict });
            status = event.word.advance(status);
        }
    }
    judged
}

/// Copies the rows that `queries/insert_status.sql` inserts, if all of them are expected to be new.
const COPY_STATUSES: &str = "\
    COPY orders.order_status (order_uid, rank, since, \"partition\", \"offset\", topic) \
    FROM STDIN (FORMAT binary)";
/// Copies the rows that `queries/insert_events.sql` inserts, if all of them are expected to be new.
const COPY_EVENTS: &str = "\
    COPY orders.order_events (order_uid, record_timestamp, \"partition\", \"offset\", word, rank, \
    told_at, version, ignored, topic) FROM STDIN (FORMAT binary)";

impl Recorder {
    /// Raises the statuses of orders and returns the statuses that they had before. An order that
    /// had none is not in the result.
    async fn advance(
        &self,
        transaction: &mut PgConnection,
        statuses: &[HighestStatus<'_>],
    ) -> Result<HashMap<OrderUid, OrderStatus>, WriteError> {
        if statuses.is_empty() {
            return Ok(HashMap::new());
        }
        let write = |row: &mut Row<'_>, it: &HighestStatus<'_>| {
            row.field(it.uid.as_str())
                .field(it.status.rank())
                .field(instant(it.position.timestamp_ms))
                .field(it.position.partition)
                .field(it.position.offset)
                .field(self.topic.as_str());
        };
        if self.statuses.next_method(statuses.len()) == Method::Copy {
            self.statuses.copy(transaction, statuses, write).await?;
            // `COPY` fails if an order has a row, so after it no order had a status before.
            return Ok(HashMap::new());
        }
        let inserted = insert_statuses(transaction, &self.topic, statuses).await?;
        // An order that was not inserted has a row. If another writer inserted it just now, the
        // insert waited for its commit, so the next statement sees the row and locks it.
        let mut known = statuses.to_vec();
        known.retain(|it| !inserted.contains(it.uid.as_str()));
        if known.is_empty() {
            return Ok(HashMap::new());
        }
        Ok(advance_statuses(transaction, &self.topic, &known).await?)
    }

    async fn insert_events(
        &self,
        transaction: &mut PgConnection,
        events: &[JudgedEvent<'_>],
    ) -> Result<(), WriteError> {
        let write = |row: &mut Row<'_>, it: &JudgedEvent<'_>| {
            row.field(it.event.order_id.as_str())
                .field(instant(it.position.timestamp_ms))
                .field(it.position.partition)
                .field(it.position.offset)
                .field(it.event.status.as_str())
                .field(rank(it.event.word))
                .field(it.event.created_at)
                .field(it.event.version)
                .field(it.verdict.map(Ignored::as_str))
                .field(self.topic.as_str());
        };
        // An event of a redelivered batch is already stored. `INSERT` leaves it as it is: its first
        // verdict is right, and this attempt judged it by a status that it had already raised.
        // `COPY` fails, and the transaction is tried again with `INSERT`.
        if self.events.next_method(events.len()) == Method::Copy {
            self.events.copy(transaction, events, write).await?;
        } else {
            insert_events(transaction, &self.topic, events).await?;
        }
        Ok(())
    }
}

/// Returns the ids of the stored orders among those that have a `created` event in the batch. Events
/// of this service are not among them, so most batches need no query.
async fn stored_orders(
    connection: &mut PgConnection,
    events: &[PositionedEvent<'_>],
) -> Result<HashSet<String>, sqlx::Error> {
    let created = StatusWord::Status(OrderStatus::Created);
    let created = events.iter().filter(|it| it.event.word == created);
    let uids: Vec<&str> = created.map(|it| it.event.order_id.as_str()).collect();
    if uids.is_empty() {
        return Ok(HashSet::new());
    }
    let stored = sqlx::query_scalar!(
        "-- stored_orders\n\
         SELECT order_uid FROM orders.orders WHERE order_uid = ANY ($1)",
        uids as _,
    );
    Ok(stored.fetch_all(connection).await?.into_iter().collect())
}

/// Inserts the statuses of orders that have none and returns the ids of these orders.
async fn insert_statuses(
    connection: &mut PgConnection,
    topic: &str,
    statuses: &[HighestStatus<'_>],
) -> Result<HashSet<String>, sqlx::Error> {
    let inserted = sqlx::query_file_scalar!(
        "queries/insert_status.sql",
        statuses.iter().map(|it| it.uid.as_str()).bind_iter() as _,
        statuses.iter().map(|it| it.status.rank()).bind_iter() as _,
        statuses.iter().map(|it| instant(it.position.timestamp_ms)).bind_iter() as _,
        statuses.iter().map(|it| it.position.partition).bind_iter() as _,
        statuses.iter().map(|it| it.position.offset).bind_iter() as _,
        topic,
    );
    Ok(inserted.fetch_all(connection).await?.into_iter().collect())
}

/// Raises the statuses of orders that have one and returns the statuses before.
async fn advance_statuses(
    connection: &mut PgConnection,
    topic: &str,
    statuses: &[HighestStatus<'_>],
) -> Result<HashMap<OrderUid, OrderStatus>, sqlx::Error> {
    let before = sqlx::query_file!(
        "queries/advance_status.sql",
        statuses.iter().map(|it| it.uid.as_str()).bind_iter() as _,
        statuses.iter().map(|it| it.status.rank()).bind_iter() as _,
        statuses.iter().map(|it| instant(it.position.timestamp_ms)).bind_iter() as _,
        statuses.iter().map(|it| it.position.partition).bind_iter() as _,
        statuses.iter().map(|it| it.position.offset).bind_iter() as _,
        topic,
    );
    let before = before.fetch_all(connection).await?;
    let uid = |uid: &str| parse_uid("orders.order_status.order_uid", uid);
    before.into_iter().map(|row| Ok((uid(&row.order_uid)?, parse_rank(row.rank)?))).collect()
}

async fn insert_events(
    connection: &mut PgConnection,
    topic: &str,
    events: &[JudgedEvent<'_>],
) -> Result<(), sqlx::Error> {
    let inserted = sqlx::query_file!(
        "queries/insert_events.sql",
        events.iter().map(|it| it.event.order_id.as_str()).bind_iter() as _,
        events.iter().map(|it| instant(it.position.timestamp_ms)).bind_iter() as _,
        events.iter().map(|it| it.position.partition).bind_iter() as _,
        events.iter().map(|it| it.position.offset).bind_iter() as _,
        events.iter().map(|it| it.event.status.as_str()).bind_iter() as _,
        events.iter().map(|it| rank(it.event.word)).bind_iter() as _,
        events.iter().map(|it| it.event.created_at).bind_iter() as _,
        events.iter().map(|it| it.event.version).bind_iter() as _,
        events.iter().map(|it| it.verdict.map(Ignored::as_str)).bind_iter() as _,
        topic,
    );
    inserted.execute(connection).await?;
    Ok(())
}

fn rank(word: StatusWord) -> Option<i16> {
    match word {
        StatusWord::Status(status) => Some(status.rank()),
        StatusWord::Updated | StatusWord::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    const WORDS: &[&str] = &["created", "cooking", "delivered", "deleted", "updated", "lost"];

    fn records(events: &[(u8, &str, i64)]) -> Vec<StatusRecord> {
        let record =
            |(offset, (order, word, timestamp_ms)): (usize, &(u8, &str, i64))| StatusRecord {
                position: Position {
                    timestamp_ms: *timestamp_ms,
                    partition: 0,
                    offset: offset as i64,
                },
                event: Ok(StatusEvent {
                    order_id: order.to_string().parse().unwrap(),
                    status: (*word).into(),
                    word: StatusWord::read(word),
                    created_at: None,
                    version: None,
                }),
            };
        events.iter().enumerate().map(record).collect()
    }

    proptest! {
        #[test]
        fn highest_status_is_that_of_the_last_event_not_ignored(
            events in vec((0..3_u8, select(WORDS), 0..5_i64), 0..20),
        ) {
            let part = records(&events);
            let events = sorted_events(&part);
            prop_assert!(events.is_sorted_by_key(|it| (&it.event.order_id, it.position)));
            let highest = highest_statuses(&events);
            prop_assert!(highest.is_sorted_by_key(|it| it.uid));
            let mut ends = HashMap::new();
            for JudgedEvent { position, event, verdict } in judge(&events, &HashMap::new(), &HashSet::new())
            {
                if let (StatusWord::Status(status), None) = (event.word, verdict) {
                    ends.insert(&event.order_id, (status, position));
                }
            }
            let highest: HashMap<_, _> =
                highest.into_iter().map(|it| (it.uid, (it.status, it.position))).collect();
            prop_assert_eq!(highest, ends);
        }
    }

    #[test]
    fn events_are_judged_in_kafkas_order_against_the_status_before() {
        let part = records(&[(1, "delivered", 30), (1, "created", 10), (1, "created", 20)]);
        let events = sorted_events(&part);
        let verdicts = |before: HashMap<_, _>, stored: &[&str]| -> Vec<Verdict> {
            let stored = stored.iter().map(|uid| (*uid).to_owned()).collect();
            judge(&events, &before, &stored).iter().map(|it| it.verdict).collect()
        };
        let (lower, repeated) = (Some(Ignored::Lower), Some(Ignored::Repeated));
        assert_eq!(verdicts(HashMap::new(), &[]), [None, repeated, None]);
        assert_eq!(verdicts(HashMap::new(), &["1"]), [repeated, repeated, None]);
        let before = HashMap::from([("1".parse().unwrap(), OrderStatus::Completed)]);
        assert_eq!(verdicts(before, &["1"]), [lower, lower, repeated]);
    }
}
