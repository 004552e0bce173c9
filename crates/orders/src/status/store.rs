//! Writing what became of orders to PostgreSQL: every event of the status topic once, with why it was
//! ignored if it was, and of each order the status that follows. How that is read is in
//! [`life`](crate::status::history).
//!
//! Only this module can make [`Recorded`]: offsets are stored for nothing else.

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
        transaction::{self, WriteError, Writer},
    },
};
use events::{OrderStatus, OrderUid, StatusEvent, StatusWord};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{
    lookup::queries::parse_uid,
    status::{history::status_of, verdict::Ignored},
};

/// A record of the status topic and what it turned out to be.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) position: Position,
    pub(crate) content: Content,
}

/// An event, or the code of the first rule that made it none.
#[derive(Debug)]
pub(crate) enum Content {
    Event(StatusEvent),
    Unreadable(&'static str),
}

/// What an event did: nothing and why, or, if `None`, it moved its order on.
pub(crate) type Verdict = Option<Ignored>;

/// The proof that all events of a batch are recorded, with what each did.
pub(crate) struct Recorded {
    pub(crate) verdicts: Vec<Verdict>,
    /// By which rules records could not be read.
    pub(crate) unreadable: Vec<&'static str>,
}

impl Receipt for Recorded {}

/// Records events of one topic.
pub(crate) struct Recorder {
    pool: PgPool,
    topic: String,
    metrics: transaction::Metrics,
    events: CopyTarget,
    statuses: CopyTarget,
}

impl Recorder {
    pub(crate) fn new(pool: PgPool, topic: String, metrics: transaction::Metrics) -> Self {
        let (events, statuses) = (CopyTarget::new(COPY_EVENTS), CopyTarget::new(COPY_STATUSES));
        Self { pool, topic, metrics, events, statuses }
    }

    /// Records a batch.
    pub(crate) async fn record(&self, batch: Vec<Heard>) -> Recorded {
        let mut recorded = Recorded { verdicts: Vec::new(), unreadable: Vec::new() };
        for part in transaction::commit(&self.pool, self, &self.metrics, batch).await {
            recorded.verdicts.extend(part.outcome);
            recorded.unreadable.extend(part.items.iter().filter_map(|heard| match heard.content {
                Content::Event(_) => None,
                Content::Unreadable(code) => Some(code),
            }));
        }
        recorded
    }
}

impl Writer for Recorder {
    type Item = Heard;
    type Outcome = Vec<Verdict>;

    async fn write(
        &self,
        transaction: &mut PgConnection,
        part: &[Heard],
    ) -> Result<Vec<Verdict>, WriteError> {
        let events = in_order(part);
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.advance(transaction, &highest(&events)).await?;
        let verdicts = judge(&events, &before);
        let judged: Vec<_> = events.into_iter().zip(verdicts.iter().copied()).collect();
        self.insert_events(transaction, &judged).await?;
        Ok(verdicts)
    }

    fn refuse(&self, heard: &mut Heard, _: &str) {
        heard.content = Content::Unreadable("refused_by_database");
    }
}

type Event<'a> = (Position, &'a StatusEvent);
type Judged<'a> = (Event<'a>, Verdict);

/// The events of a batch by their order, and for each order as Kafka took them: by timestamp,
/// partition and offset. Rows that are written by key never have two writers wait in a circle.
fn in_order(part: &[Heard]) -> Vec<Event<'_>> {
    let mut events: Vec<_> = part
        .iter()
        .filter_map(|heard| match &heard.content {
            Content::Event(event) => Some((heard.position, event)),
            Content::Unreadable(_) => None,
        })
        .collect();
    events.sort_unstable_by_key(|(position, event)| (&event.order_id, *position));
    events
}

/// The events of each order.
fn by_order<'e, 'a>(events: &'e [Event<'a>]) -> impl Iterator<Item = &'e [Event<'a>]> {
    events.chunk_by(|(_, event), (_, next)| event.order_id == next.order_id)
}

/// The highest status that is told of an order, and the earliest record that tells it.
type Told<'a> = (&'a OrderUid, OrderStatus, Position);

/// Of each order the highest status, sorted by order id.
fn highest<'a>(events: &[Event<'a>]) -> Vec<Told<'a>> {
    let told = |(position, event): &Event<'a>| match event.word {
        StatusWord::Status(status) => Some((&event.order_id, status, *position)),
        StatusWord::Updated | StatusWord::Unknown => None,
    };
    by_order(events)
        .filter_map(|events| {
            let told = events.iter().filter_map(told);
            told.max_by_key(|(_, status, position)| (*status, Reverse(*position)))
        })
        .collect()
}

/// What each event did to its order, which stood as `before` tells before all of them.
fn judge(events: &[Event<'_>], before: &HashMap<OrderUid, OrderStatus>) -> Vec<Verdict> {
    let mut verdicts = Vec::with_capacity(events.len());
    for events in by_order(events) {
        let mut status = events.first().and_then(|(_, event)| before.get(&event.order_id)).copied();
        for (_, event) in events {
            verdicts.push(Ignored::judge(status, event.word));
            status = event.word.advance(status);
        }
    }
    verdicts
}

/// One array a column, as `UNNEST` takes them.
struct Columns<'a> {
    uids: Vec<&'a str>,
    ranks: Vec<i16>,
    since: Vec<OffsetDateTime>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(told: &[Told<'a>]) -> Self {
        Self {
            uids: told.iter().map(|(uid, ..)| uid.as_str()).collect(),
            ranks: told.iter().map(|(_, status, _)| status.rank()).collect(),
            since: told.iter().map(|(.., position)| instant(position.timestamp_ms)).collect(),
            partitions: told.iter().map(|(.., position)| position.partition).collect(),
            offsets: told.iter().map(|(.., position)| position.offset).collect(),
        }
    }
}

/// Gives the status that each order had before.
async fn advance_status(
    connection: &mut PgConnection,
    topic: &str,
    told: &[Told<'_>],
) -> Result<HashMap<OrderUid, OrderStatus>, sqlx::Error> {
    let columns = Columns::of(told);
    let known = sqlx::query_file!(
        "queries/advance_status.sql",
        &columns.uids as &[&str],
        &columns.ranks,
        &columns.since,
        &columns.partitions,
        &columns.offsets,
        topic,
    );
    let known = known.fetch_all(connection).await?;
    let uid = |uid: &str| parse_uid("order_status.order_uid", uid);
    known.into_iter().map(|row| Ok((uid(&row.order_uid)?, status_of(row.rank)?))).collect()
}

/// As `queries/insert_status.sql`, for orders of which nothing was told before.
const COPY_STATUSES: &str = "\
    COPY orders.order_status (order_uid, rank, since, \"partition\", \"offset\", topic) \
    FROM STDIN (FORMAT binary)";
/// As `queries/insert_events.sql`, for events that are all new.
const COPY_EVENTS: &str = "\
    COPY orders.order_events (order_uid, record_timestamp, \"partition\", \"offset\", word, rank, \
    told_at, version, ignored, topic) FROM STDIN (FORMAT binary)";

impl Recorder {
    /// Brings the statuses up to what was told, and gives those that orders had before.
    async fn advance(
        &self,
        transaction: &mut PgConnection,
        told: &[Told<'_>],
    ) -> Result<HashMap<OrderUid, OrderStatus>, WriteError> {
        if told.is_empty() {
            return Ok(HashMap::new());
        }
        let topic = self.topic.as_str();
        let write = |row: &mut Row<'_>, (uid, status, position): &Told<'_>| {
            row.field(uid.as_str())
                .field(status.rank())
                .field(instant(position.timestamp_ms))
                .field(position.partition)
                .field(position.offset)
                .field(topic);
        };
        if self.statuses.next_method(told.len()) == Method::Copy {
            self.statuses.copy(transaction, told, write).await?;
            return Ok(HashMap::new());
        }
        let columns = Columns::of(told);
        let fresh = sqlx::query_file_scalar!(
            "queries/insert_status.sql",
            &columns.uids as &[&str],
            &columns.ranks,
            &columns.since,
            &columns.partitions,
            &columns.offsets,
            self.topic,
        );
        let fresh: HashSet<_> = fresh.fetch_all(&mut *transaction).await?.into_iter().collect();
        if fresh.len() == told.len() {
            return Ok(HashMap::new());
        }
        let known: Vec<_> =
            told.iter().copied().filter(|(uid, ..)| !fresh.contains(uid.as_str())).collect();
        Ok(advance_status(transaction, &self.topic, &known).await?)
    }

    async fn insert_events(
        &self,
        transaction: &mut PgConnection,
        judged: &[Judged<'_>],
    ) -> Result<(), WriteError> {
        let topic = self.topic.as_str();
        let write = |row: &mut Row<'_>, ((position, event), verdict): &Judged<'_>| {
            row.field(event.order_id.as_str())
                .field(instant(position.timestamp_ms))
                .field(position.partition)
                .field(position.offset)
                .field(event.status.as_str())
                .field(rank(event.word))
                .field(event.created_at)
                .field(event.version)
                .field(verdict.map(Ignored::as_str))
                .field(topic);
        };
        if self.events.next_method(judged.len()) == Method::Copy {
            self.events.copy(transaction, judged, write).await?;
            return Ok(());
        }
        let events = || judged.iter().map(|((position, event), _)| (position, *event));
        let uids: Vec<&str> = events().map(|(_, event)| event.order_id.as_str()).collect();
        let timestamps: Vec<OffsetDateTime> =
            events().map(|(position, _)| instant(position.timestamp_ms)).collect();
        let partitions: Vec<i32> = events().map(|(position, _)| position.partition).collect();
        let offsets: Vec<i64> = events().map(|(position, _)| position.offset).collect();
        let words: Vec<&str> = events().map(|(_, event)| event.status.as_str()).collect();
        let ranks: Vec<Option<i16>> = events().map(|(_, event)| rank(event.word)).collect();
        let told_at: Vec<Option<OffsetDateTime>> =
            events().map(|(_, event)| event.created_at).collect();
        let versions: Vec<Option<i32>> = events().map(|(_, event)| event.version).collect();
        let ignored: Vec<Option<&str>> =
            judged.iter().map(|(_, verdict)| verdict.map(Ignored::as_str)).collect();
        let inserted = sqlx::query_file!(
            "queries/insert_events.sql",
            &uids as &[&str],
            &timestamps,
            &partitions,
            &offsets,
            &words as &[&str],
            &ranks as &[Option<i16>],
            &told_at as &[Option<OffsetDateTime>],
            &versions as &[Option<i32>],
            &ignored as &[Option<&str>],
            self.topic,
        );
        inserted.execute(transaction).await?;
        Ok(())
    }
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

    fn heard(events: &[(u8, &str, i64)]) -> Vec<Heard> {
        let heard = |(offset, (order, word, timestamp_ms)): (usize, &(u8, &str, i64))| Heard {
            position: Position { timestamp_ms: *timestamp_ms, partition: 0, offset: offset as i64 },
            content: Content::Event(StatusEvent {
                order_id: order.to_string().parse().unwrap(),
                status: (*word).into(),
                word: StatusWord::read(word),
                created_at: None,
                version: None,
            }),
        };
        events.iter().enumerate().map(heard).collect()
    }

    proptest! {
        #[test]
        fn what_is_told_of_an_order_is_what_its_events_that_were_not_ignored_end_in(
            events in vec((0..3_u8, select(WORDS), 0..5_i64), 0..20),
        ) {
            let part = heard(&events);
            let events = in_order(&part);
            prop_assert!(events.is_sorted_by_key(|(position, event)| (&event.order_id, *position)));
            let told = highest(&events);
            prop_assert!(told.is_sorted_by_key(|(uid, ..)| *uid));
            let verdicts = judge(&events, &HashMap::new());
            let mut ends = HashMap::new();
            for ((position, event), verdict) in events.iter().zip(&verdicts) {
                if let (StatusWord::Status(status), None) = (event.word, verdict) {
                    ends.insert(&event.order_id, (status, *position));
                }
            }
            let told: HashMap<_, _> =
                told.into_iter().map(|(uid, status, position)| (uid, (status, position))).collect();
            prop_assert_eq!(told, ends);
        }
    }

    #[test]
    fn events_are_judged_as_kafka_took_them_and_against_what_was_before() {
        let part = heard(&[(1, "delivered", 30), (1, "created", 10), (1, "created", 20)]);
        let events = in_order(&part);
        assert_eq!(judge(&events, &HashMap::new()), [None, Some(Ignored::Repeated), None]);
        let before = HashMap::from([("1".parse().unwrap(), OrderStatus::Completed)]);
        let lower = Some(Ignored::Lower);
        assert_eq!(judge(&events, &before), [lower, lower, Some(Ignored::Repeated)]);
    }
}
