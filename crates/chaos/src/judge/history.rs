//! The status of each order in the order service: its history, and its highest status.

use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use time::OffsetDateTime;

use super::{
    Case, Position,
    index::{Origin, Place},
    progress::Progress,
    topics::{OwnKind, Records},
};
use crate::finding::{
    CheckResult,
    FindingKind::{Altered, Duplicated, Foreign, IllegalStatus, Misplaced, Missing},
};

/// Checks the rows of `order_events`. Returns true if the order service's own `created` events are
/// recorded, too.
pub(super) async fn check_events(
    case: &Case,
    database: &mut PgConnection,
    records: &mut Records,
    missing: &mut Vec<Position>,
) -> anyhow::Result<(CheckResult, bool)> {
    let mut check = CheckResult::new(1, "order_events: each event once, field by field");
    let progress = Progress::new("orders.order_events", case.traffic.events.cast_signed());
    let mut records_created = false;
    let statement = "-- judge_events\nSELECT * FROM orders.order_events";
    let mut rows = sqlx::query(statement).fetch(database);
    while let Some(row) = rows.try_next().await? {
        progress.advance();
        check.checked += 1;
        records_created |= check_event(case, &row, records, &mut check)?;
    }
    for (position, entry) in records.status.entries() {
        let is_created = matches!(entry.origin, Origin::Own(own)
            if records.own[own as usize].kind == OwnKind::Created);
        let may_be_left_out = entry.is_rejected
            || entry.origin == Origin::Foreign
            || (is_created && !records_created);
        if !may_be_left_out && !entry.is_seen(Place::History) {
            missing.push(position);
            check.find(Missing, || format!("{}:{position}", case.status_topic));
        }
    }
    Ok((check, records_created))
}

/// The columns of an event.
#[derive(Debug, PartialEq, Eq)]
struct EventRow {
    order_uid: String,
    word: String,
    rank: Option<i16>,
    told_at: Option<OffsetDateTime>,
    version: Option<i32>,
}

/// Returns true for a `created` of the order service.
fn check_event(
    case: &Case,
    row: &PgRow,
    records: &mut Records,
    check: &mut CheckResult,
) -> Result<bool, sqlx::Error> {
    let position = position(row, "record_timestamp")?;
    let topic: String = row.try_get("topic")?;
    let place = || format!("{topic}:{position}");
    let entry = records.status.find(position.partition, position.offset);
    let Some(entry) = entry.filter(|_| topic == case.status_topic) else {
        check.find(Foreign, place);
        return Ok(false);
    };
    let (expected, is_created) = match entry.origin {
        Origin::Sent(number) => (
            case.traffic.event(number).map(|event| EventRow {
                order_uid: case.traffic.id(event.order),
                word: event.word,
                rank: event.rank,
                told_at: event.created_at,
                version: event.version,
            }),
            false,
        ),
        Origin::Own(own) => {
            let event = records.own[own as usize];
            (
                Some(EventRow {
                    order_uid: case.traffic.id(event.order),
                    word: event.kind.word().to_owned(),
                    rank: event.kind.rank(),
                    told_at: Some(event.created_at),
                    version: event.version,
                }),
                event.kind == OwnKind::Created,
            )
        }
        // Reported with its topic.
        Origin::Foreign => return Ok(false),
    };
    let Some(expected) = expected else {
        check.find(Misplaced, place);
        return Ok(false);
    };
    let is_repeated = entry.see(Place::History);
    check.expect(!is_repeated, Duplicated, place);
    let stored = EventRow {
        order_uid: row.try_get("order_uid")?,
        word: row.try_get("word")?,
        rank: row.try_get("rank")?,
        told_at: row.try_get("told_at")?,
        version: row.try_get("version")?,
    };
    let is_equal = stored == expected && entry.timestamp_ms == position.timestamp_ms;
    check.expect(is_equal, Altered, || format!("{}: {stored:?} instead of {expected:?}", place()));
    let ignored: Option<String> = row.try_get("ignored")?;
    let is_legal = match (expected.rank, ignored.as_deref()) {
        (Some(_), None | Some("repeated" | "lower")) => true,
        (None, Some("no_rank")) => expected.word.eq_ignore_ascii_case("updated"),
        (None, Some("unknown_status")) => !expected.word.eq_ignore_ascii_case("updated"),
        _ => false,
    };
    check.expect(is_legal, IllegalStatus, || format!("{}: ignored is {ignored:?}", place()));
    Ok(is_created)
}

/// Checks the rows of `order_status`: the highest rank, and the earliest record with it.
pub(super) async fn check_status(
    case: &Case,
    database: &mut PgConnection,
    records: &mut Records,
    records_created: bool,
) -> anyhow::Result<CheckResult> {
    let mut check = CheckResult::new(1, "order_status: the highest status of each order");
    let statement = "-- judge_status\nSELECT * FROM orders.order_status";
    let mut rows = sqlx::query(statement).fetch(database);
    while let Some(row) = rows.try_next().await? {
        check.checked += 1;
        let id: String = row.try_get("order_uid")?;
        let Some(number) = case.traffic.order_number(&id) else {
            check.find(Foreign, || id);
            continue;
        };
        let slot = records.slots.get(number);
        let is_repeated = std::mem::replace(&mut slot.has_status_row, true);
        check.expect(!is_repeated, Duplicated, || id.clone());
        let expected = if records_created { slot.status.highest } else { slot.foreign_status };
        let Some((rank, earliest)) = expected else {
            check.find(Foreign, || format!("{id}: no event has a status"));
            continue;
        };
        let stored: i16 = row.try_get("rank")?;
        check.expect(stored == rank, IllegalStatus, || format!("{id}: {stored} instead of {rank}"));
        let position = position(&row, "since")?;
        // Without own `created` events, a `created` of others is repeated if the order is stored.
        let is_earliest = position == earliest || (rank == 0 && !records_created);
        check.expect(stored != rank || is_earliest, IllegalStatus, || {
            format!("{id}: since {position} instead of {earliest}")
        });
    }
    for (number, slot) in records.slots.iter() {
        let expected = if records_created { slot.status.highest } else { slot.foreign_status };
        let is_needed = expected.is_some_and(|(rank, _)| rank > 0 || records_created);
        check.expect(!is_needed || slot.has_status_row, Missing, || case.traffic.id(number));
    }
    Ok(check)
}

fn position(row: &PgRow, time: &str) -> Result<Position, sqlx::Error> {
    Ok(Position {
        timestamp_ms: Position::milliseconds(row.try_get(time)?),
        partition: row.try_get("partition")?,
        offset: row.try_get("offset")?,
    })
}
