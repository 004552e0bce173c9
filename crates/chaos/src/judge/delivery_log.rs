//! The log of deliveries, its events on the deliveries topic, and what the order service has stored of
//! them.
//!
//! The last entry of each order must say what the tables say. Each entry must be on the topic, those
//! of one order in their sequence, and the order service must have the latest one.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use rdkafka::{Message as _, message::BorrowedMessage};
use serde::Deserialize;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use time::OffsetDateTime;
use tokio::task::spawn_blocking;

use super::{Case, kafka};
use crate::finding::{
    CheckResult,
    FindingKind::{
        Altered, EventWithoutFact, Foreign, IllegalStatus, Missing, MissingEvent, OutOfSequence,
    },
};

const COMPLETED: i16 = 5;
const CANCELLED: i16 = 6;

/// The longest wait until the last events are sent and stored.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(15);
const SETTLE_INTERVAL: Duration = Duration::from_millis(200);

const LAST_ENTRIES: &str = "-- judge_last_entries
SELECT order_id, state.rank, state.held_at IS NOT NULL AS is_held,
    delivery.order_id IS NOT NULL AS has_delivery, delivery.courier_id, delivery.transport_type,
    delivery.deadline, delivery.completed_at, delivery.released_at, delivery.overdue_at,
    entry.status, entry.courier_id AS entry_courier_id, entry.transport_type AS entry_transport_type,
    entry.deadline AS entry_deadline
FROM couriers.order_states AS state
FULL JOIN (
    SELECT DISTINCT ON (order_id) order_id, status, courier_id, transport_type, deadline
    FROM couriers.delivery_log WHERE order_id IS NOT NULL ORDER BY order_id, number DESC
) AS entry USING (order_id)
LEFT JOIN couriers.courier_orders AS delivery USING (order_id)";

/// Checks that the last entry of each order agrees with its state and its delivery.
pub(super) async fn check_log(database: &mut PgConnection) -> anyhow::Result<CheckResult> {
    let mut check = CheckResult::new(7, "delivery_log: the last entry of each order");
    let mut rows = sqlx::query(LAST_ENTRIES).fetch(database);
    while let Some(row) = rows.try_next().await? {
        check.checked += 1;
        check_last_entry(&row, &mut check)?;
    }
    Ok(check)
}

fn check_last_entry(row: &PgRow, check: &mut CheckResult) -> Result<(), sqlx::Error> {
    let id: String = row.try_get("order_id")?;
    let status: Option<String> = row.try_get("status")?;
    let Some(rank) = row.try_get::<Option<i16>, _>("rank")? else {
        check.find(Foreign, || format!("{id}: entries of an unknown order"));
        return Ok(());
    };
    let has_delivery: bool = row.try_get("has_delivery")?;
    let is_set = |name: &str| -> Result<bool, sqlx::Error> {
        Ok(row.try_get::<Option<OffsetDateTime>, _>(name)?.is_some())
    };
    let is_held: bool = row.try_get("is_held")?;
    let expected: &[Option<&str>] = match (rank, has_delivery) {
        (CANCELLED, _) => &[Some("cancelled")],
        (COMPLETED, _) => &[Some("completed")],
        (_, true) if is_set("released_at")? => &[Some("released")],
        (_, true) if is_set("overdue_at")? => &[Some("overdue")],
        (_, true) => &[Some("assigned"), Some("reassigned")],
        (_, false) if is_held => &[Some("unassigned")],
        (_, false) => &[None, Some("requeued")],
    };
    let kind = if status.is_none() { Missing } else { IllegalStatus };
    check.expect(expected.contains(&status.as_deref()), kind, || {
        format!("{id}: the last entry is {status:?} instead of {expected:?}")
    });
    if has_delivery && status.is_some() {
        let courier: (i64, Option<i64>) =
            (row.try_get("courier_id")?, row.try_get("entry_courier_id")?);
        let transport: (String, Option<String>) =
            (row.try_get("transport_type")?, row.try_get("entry_transport_type")?);
        let deadline: (OffsetDateTime, Option<OffsetDateTime>) =
            (row.try_get("deadline")?, row.try_get("entry_deadline")?);
        let is_equal = Some(courier.0) == courier.1
            && Some(&transport.0) == transport.1.as_ref()
            && Some(deadline.0) == deadline.1;
        check.expect(is_equal, Altered, || {
            format!("{id}: {courier:?}, {transport:?} or {deadline:?} of delivery and entry differ")
        });
    }
    Ok(())
}

/// The entries of an order, and the latest event of it on the topic.
#[derive(Default)]
struct Delivery {
    /// By their numbers.
    entries: Vec<Entry>,
    latest: Option<Event>,
}

struct Entry {
    number: i64,
    /// Of the fields that an event has.
    digest: u64,
    is_unsent: bool,
    is_seen: bool,
}

/// An event on the topic: the fields of its value, of which the sequence is the one of the columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
struct Event {
    order_id: String,
    courier_id: Option<i64>,
    status: String,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    number: i64,
    transport_type: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    deadline: Option<OffsetDateTime>,
    cause: Option<String>,
}

impl Event {
    fn read(row: &PgRow, order_id: &str, at: &str) -> Result<Self, sqlx::Error> {
        Ok(Self {
            order_id: row.try_get(order_id)?,
            courier_id: row.try_get("courier_id")?,
            status: row.try_get("status")?,
            at: row.try_get(at)?,
            number: row.try_get("number")?,
            transport_type: row.try_get("transport_type")?,
            deadline: row.try_get("deadline")?,
            cause: row.try_get("cause")?,
        })
    }

    fn digest(&self) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(self)
    }

    fn id(&self) -> String {
        format!("{}:{}:{}", self.order_id, self.number, self.status)
    }
}

type Deliveries = HashMap<String, Delivery>;

/// Checks the deliveries topic, and the table of the order service that is made from it.
pub(super) async fn check_events(
    case: &Case,
    couriers: &mut PgConnection,
    orders: &mut PgConnection,
) -> anyhow::Result<[CheckResult; 2]> {
    let settled_by = Instant::now() + SETTLE_TIMEOUT;
    while case.couriers_run && !unsent(couriers).await?.is_empty() && Instant::now() < settled_by {
        tokio::time::sleep(SETTLE_INTERVAL).await;
    }
    let deliveries = entries(case, couriers).await?;
    let reading = case.clone();
    let (topic, deliveries) = spawn_blocking(move || check_topic(&reading, deliveries)).await??;
    loop {
        let stored = check_stored(orders, &deliveries).await?;
        if stored.findings == 0 || !case.couriers_run || Instant::now() > settled_by {
            return Ok([topic, stored]);
        }
        tokio::time::sleep(SETTLE_INTERVAL).await;
    }
}

async fn unsent(database: &mut PgConnection) -> Result<HashSet<i64>, sqlx::Error> {
    let statement = "-- judge_unsent\nSELECT number FROM couriers.delivery_outbox";
    let numbers: Vec<i64> = sqlx::query_scalar(statement).fetch_all(database).await?;
    Ok(numbers.into_iter().collect())
}

async fn entries(case: &Case, database: &mut PgConnection) -> anyhow::Result<Deliveries> {
    // Without a sender, what waits for it is no finding.
    let unsent = if case.couriers_run { HashSet::new() } else { unsent(database).await? };
    let mut deliveries = Deliveries::new();
    let statement = "-- judge_entries
        SELECT order_id, courier_id, status, at, number, transport_type, deadline, cause
        FROM couriers.delivery_log WHERE order_id IS NOT NULL ORDER BY number";
    let mut rows = sqlx::query(statement).fetch(database);
    while let Some(row) = rows.try_next().await? {
        let event = Event::read(&row, "order_id", "at")?;
        let (number, digest) = (event.number, event.digest());
        let is_unsent = unsent.contains(&number);
        let entry = Entry { number, digest, is_unsent, is_seen: false };
        deliveries.entry(event.order_id).or_default().entries.push(entry);
    }
    Ok(deliveries)
}

fn check_topic(
    case: &Case,
    mut deliveries: Deliveries,
) -> anyhow::Result<(CheckResult, Deliveries)> {
    let mut check = CheckResult::new(7, "deliveries topic: each entry about an order");
    let source = format!("waybill/{}/couriers", case.group);
    kafka::scan(&case.brokers, &case.deliveries_topic, |message| {
        check.checked += 1;
        let place = || format!("{}:{}", message.partition(), message.offset());
        match own_event(message, &source) {
            Some(event) => check_event(case, event, &mut deliveries, &mut check),
            None => check.find(Foreign, || format!("{}: not an event of a delivery", place())),
        }
    })?;
    for (id, delivery) in &deliveries {
        for entry in delivery.entries.iter().filter(|entry| !entry.is_seen && !entry.is_unsent) {
            check.find(MissingEvent, || format!("{id}: the entry {}", entry.number));
        }
    }
    Ok((check, deliveries))
}

/// Returns an event of this installation whose key and headers agree with its value.
fn own_event(message: &BorrowedMessage<'_>, source: &str) -> Option<Event> {
    let event: Event = serde_json::from_slice(message.payload()?).ok()?;
    let is_own = message.key() == Some(event.order_id.as_bytes())
        && kafka::text_header(message, "ce_source") == Some(source)
        && kafka::text_header(message, "ce_type") == Some(&event.status)
        && kafka::text_header(message, "ce_id") == Some(&event.id());
    is_own.then_some(event)
}

fn check_event(case: &Case, event: Event, deliveries: &mut Deliveries, check: &mut CheckResult) {
    let delivery = deliveries.entry(event.order_id.clone()).or_default();
    let found = delivery.entries.binary_search_by_key(&event.number, |entry| entry.number);
    match found {
        // A database that lost its last commits has other entries with the same numbers.
        _ if case.lost_commits => {
            if let Ok(place) = found {
                let entry = &mut delivery.entries[place];
                entry.is_seen |= entry.digest == event.digest();
            }
        }
        Err(_) => check.find(EventWithoutFact, || event.id()),
        Ok(place) => {
            let (earlier, rest) = delivery.entries.split_at_mut(place);
            let is_first = !std::mem::replace(&mut rest[0].is_seen, true);
            check.expect(rest[0].digest == event.digest(), Altered, || event.id());
            let is_next = earlier.iter().all(|entry| entry.is_seen);
            check.expect(!is_first || is_next, OutOfSequence, || event.id());
        }
    }
    let is_later = |latest: &Event| (event.at, event.number) > (latest.at, latest.number);
    if delivery.latest.as_ref().is_none_or(is_later) {
        delivery.latest = Some(event);
    }
}

/// Checks that the order service has the latest event of each order.
async fn check_stored(
    database: &mut PgConnection,
    deliveries: &Deliveries,
) -> anyhow::Result<CheckResult> {
    let mut check = CheckResult::new(7, "order_deliveries: the latest event of each order");
    let statement = "-- judge_order_deliveries\nSELECT * FROM orders.order_deliveries";
    let mut rows = sqlx::query(statement).fetch(database);
    while let Some(row) = rows.try_next().await? {
        check.checked += 1;
        let stored = Event::read(&row, "order_uid", "since")?;
        let latest = deliveries.get(&stored.order_id).and_then(|known| known.latest.as_ref());
        let kind = if latest.is_none() { Foreign } else { Altered };
        check.expect(latest == Some(&stored), kind, || format!("{stored:?} instead of {latest:?}"));
    }
    let on_topic = deliveries.values().filter(|known| known.latest.is_some()).count() as u64;
    let stored = check.checked;
    for _ in stored..on_topic {
        check.find(Missing, || format!("{stored} of {on_topic} orders are stored"));
    }
    Ok(check)
}
