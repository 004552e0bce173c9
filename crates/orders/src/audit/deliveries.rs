//! Compares the deliveries topic with the rows of `order_deliveries`: each row is the latest event of
//! its order.

use std::collections::HashMap;

use chassis::{
    audit::{check::Check, rejected::Due, scanned::ScannedTopic},
    kafka::{record::milliseconds, topic_scan::Scanner},
};
use events::{CourierId, DeliveryCause, DeliveryEvent, Transport};
use futures_util::TryStreamExt as _;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::Source;

/// The rows of `order_deliveries`, by order.
pub(super) struct Deliveries(HashMap<String, Stored>);

struct Stored {
    row: DeliveryRow,
    found: Found,
}

struct DeliveryRow {
    order_uid: String,
    since: OffsetDateTime,
    number: i64,
    status: String,
    courier_id: Option<i64>,
    transport_type: Option<String>,
    deadline: Option<OffsetDateTime>,
    cause: Option<String>,
}

/// The result of the search for the event of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// An event with the time and the number of the row, and the first column that differs.
    Different(&'static str),
    Same,
    /// A later event, which was committed before the row was read.
    Later,
}

/// Reads all rows. Times that only a manual change can write are clamped or left out, because they
/// could not be read.
pub(super) async fn read(connection: &mut PgConnection) -> Result<Deliveries, sqlx::Error> {
    let mut rows = sqlx::query_as!(
        DeliveryRow,
        "-- audit_deliveries\n\
         SELECT order_uid, \
             greatest('0001-01-01T00:00:00Z BC', least(since, '9999-12-31T23:59:59.999999Z')) \
                 AS \"since!\", \
             number, status, courier_id, transport_type, \
             CASE WHEN deadline BETWEEN '0001-01-01T00:00:00Z BC' AND '9999-12-31T23:59:59.999999Z' \
                 THEN deadline END AS deadline, \
             cause \
         FROM orders.order_deliveries"
    )
    .fetch(connection);
    let mut deliveries = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        deliveries.insert(row.order_uid.clone(), Stored { row, found: Found::Nothing });
    }
    Ok(Deliveries(deliveries))
}

/// Reads the topic up to its current end, and compares each event with the row of its order.
pub(super) fn check(
    scanner: &Scanner,
    source: &Source<'_>,
    mut deliveries: Deliveries,
) -> anyhow::Result<Check> {
    let Source { topic, cleanup, group, committed } = source;
    let mut check = Check::new(1, "the stored delivery of an order is its latest event");
    let mut scanned = ScannedTopic::new(topic, &scanner.bounds(topic)?, *cleanup);
    let mut scan = scanner.scan(topic, &scanned.ends())?;
    while let Some(record) = scan.next_record()? {
        scanned.see(&record);
        check.note_read();
        let Ok(event) = DeliveryEvent::read(record.value) else { continue };
        let is_committed = Due::of(record.position, committed) == Due::Committed;
        match deliveries.0.get_mut(event.order_id.as_str()) {
            Some(stored) => stored.compare(&event, is_committed),
            None if is_committed => check.look(false, || event.order_id.to_string()),
            None => {}
        }
    }
    drop(scan);
    scanned.finish(&scanner.bounds(topic)?);
    deliveries.finish(&mut check, &scanned);
    scanned.skip_unread(&mut check, committed, group);
    Ok(check)
}

impl Deliveries {
    fn finish(self, check: &mut Check, scanned: &ScannedTopic) {
        let since_ms = |stored: &Stored| milliseconds(stored.row.since);
        let oldest_ms = self.0.values().map(since_ms).min();
        // An event is sent after the change of the delivery.
        let complete_ms = scanned.complete_since(oldest_ms.unwrap_or(i64::MAX));
        for (uid, stored) in &self.0 {
            let is_expected = complete_ms.is_some_and(|from| from <= since_ms(stored));
            match stored.found {
                Found::Same => check.look(true, String::new),
                Found::Different(field) => check.look(false, || format!("{uid}: {field}")),
                Found::Later => check.look(false, || format!("{uid}: since")),
                Found::Nothing if is_expected => check.look(false, || format!("{uid}: no record")),
                Found::Nothing => check.skip(1, &scanned.incomplete()),
            }
        }
    }
}

impl Stored {
    fn compare(&mut self, event: &DeliveryEvent, is_committed: bool) {
        let stored = (microseconds(self.row.since), self.row.number);
        let found = match stored.cmp(&(microseconds(event.at), event.number)) {
            std::cmp::Ordering::Less if is_committed => Found::Later,
            std::cmp::Ordering::Equal => {
                self.row.difference(event).map_or(Found::Same, Found::Different)
            }
            std::cmp::Ordering::Less | std::cmp::Ordering::Greater => return,
        };
        // Two events may have the same time and number: the row may be either of them.
        let is_settled = matches!(self.found, Found::Later)
            || (self.found == Found::Same && found != Found::Later);
        if !is_settled {
            self.found = found;
        }
    }
}

impl DeliveryRow {
    /// Returns the first column that differs from the event.
    fn difference(&self, event: &DeliveryEvent) -> Option<&'static str> {
        if self.status != event.status.as_str() {
            Some("status")
        } else if self.courier_id != event.courier_id.map(CourierId::get) {
            Some("courier_id")
        } else if self.transport_type.as_deref() != event.transport_type.map(Transport::as_str) {
            Some("transport_type")
        } else if self.deadline.map(microseconds) != event.deadline.map(microseconds) {
            Some("deadline")
        } else if self.cause.as_deref() != event.cause.map(DeliveryCause::as_str) {
            Some("cause")
        } else {
            None
        }
    }
}

/// The precision of PostgreSQL.
fn microseconds(at: OffsetDateTime) -> i128 {
    at.unix_timestamp_nanos().div_euclid(1_000)
}
