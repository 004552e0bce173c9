//! Reads the two topics: compares each record with the one that was sent, and folds them into the
//! state that the databases must have.

use rdkafka::{Message as _, message::BorrowedMessage};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Case, Position,
    index::{Origin, RecordIndex},
    kafka,
    slots::Slots,
};
use crate::{
    finding::{
        CheckResult,
        FindingKind::{Altered, EventWithoutFact, Foreign, LostByKafka},
    },
    ledger::Ledger,
    traffic::{Expected, NUMBER_HEADER, Stream},
};

/// Everything that the topics contain.
pub(super) struct Records {
    pub(super) orders: RecordIndex,
    pub(super) status: RecordIndex,
    pub(super) slots: Slots,
    /// The events of the order service.
    pub(super) own: Vec<OwnEvent>,
}

/// An event of the order service.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnEvent {
    pub(super) order: u64,
    pub(super) kind: OwnKind,
    pub(super) version: Option<i32>,
    pub(super) created_at: OffsetDateTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OwnKind {
    Created,
    Updated,
    Completed,
    Cancelled,
}

impl OwnKind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) fn rank(self) -> Option<i16> {
        match self {
            Self::Created => Some(0),
            Self::Updated => None,
            Self::Completed => Some(5),
            Self::Cancelled => Some(6),
        }
    }
}

/// Reads both topics. Returns their records, and a check of each topic.
pub(super) fn read(case: &Case) -> anyhow::Result<(Records, Vec<CheckResult>)> {
    let mut records = Records {
        orders: RecordIndex::default(),
        status: RecordIndex::default(),
        slots: Slots::new(case.traffic.orders),
        own: Vec::new(),
    };
    let mut orders = CheckResult::new(0, "orders topic: records as they were sent");
    kafka::scan(&case.brokers, &case.orders_topic, |message| {
        read_order(case, message, &mut records, &mut orders);
    })?;
    let mut status = CheckResult::new(0, "status topic: records as they were sent");
    kafka::scan(&case.brokers, &case.status_topic, |message| {
        read_event(case, message, &mut records, &mut status);
    })?;
    let mut checks = vec![orders, status];
    for stream in Stream::ALL {
        checks.push(check_ledger(case, stream, &mut records)?);
    }
    Ok((records, checks))
}

fn read_order(
    case: &Case,
    message: &BorrowedMessage<'_>,
    records: &mut Records,
    check: &mut CheckResult,
) {
    check.checked += 1;
    let position = Position::of(message);
    let Some((number, expected)) = sent(case, Stream::Orders, message, check) else {
        check.find(Foreign, || format!("{}:{position}", case.orders_topic));
        return records.orders.push(position, Origin::Foreign, false);
    };
    let is_rejected = matches!(expected, Expected::Rejected { .. });
    records.orders.push(position, Origin::Sent(number), is_rejected);
    if let Expected::Order(content) = expected {
        records.slots.get(content.order).add_order(position, content.revision);
    }
}

fn read_event(
    case: &Case,
    message: &BorrowedMessage<'_>,
    records: &mut Records,
    check: &mut CheckResult,
) {
    check.checked += 1;
    let position = Position::of(message);
    if case.is_own(kafka::text_header(message, "ce_source")) {
        return read_own_event(case, message, records, check);
    }
    let Some((number, expected)) = sent(case, Stream::Status, message, check) else {
        check.find(Foreign, || format!("{}:{position}", case.status_topic));
        return records.status.push(position, Origin::Foreign, false);
    };
    let is_rejected = matches!(expected, Expected::Rejected { .. });
    records.status.push(position, Origin::Sent(number), is_rejected);
    if let Some(event) = case.traffic.event(number)
        && let Some(rank) = event.rank
    {
        records.slots.get(event.order).add_event(position, rank, false);
    }
}

/// Compares a record with the one that was sent with its number. Returns `None` if no sender of
/// the run has sent it.
fn sent(
    case: &Case,
    stream: Stream,
    message: &BorrowedMessage<'_>,
    check: &mut CheckResult,
) -> Option<(u64, Expected)> {
    let number = kafka::text_header(message, NUMBER_HEADER)?.parse::<u64>().ok()?;
    if number >= case.traffic.count(stream) {
        return None;
    }
    let sent = case.traffic.record(stream, number);
    let is_equal =
        message.key() == sent.key.as_deref() && message.payload() == sent.value.as_deref();
    check.expect(is_equal, Altered, || {
        format!("{}:{} is not record {number}", message.topic(), Position::of(message))
    });
    Some((number, sent.expected))
}

#[derive(Deserialize)]
struct OwnValue {
    order_id: String,
    status: OwnKind,
    created_at: String,
    version: Option<i32>,
}

fn read_own_event(
    case: &Case,
    message: &BorrowedMessage<'_>,
    records: &mut Records,
    check: &mut CheckResult,
) {
    let position = Position::of(message);
    let Some((event, id)) = own_event(case, message) else {
        check.find(EventWithoutFact, || {
            let value = String::from_utf8_lossy(message.payload().unwrap_or_default());
            format!("{}:{position} {value}", case.status_topic)
        });
        return records.status.push(position, Origin::Foreign, false);
    };
    let ce_id = format!("{id}:{}:{}", event.version.unwrap_or(0), event.kind.word());
    let is_whole = message.key() == Some(id.as_bytes())
        && kafka::text_header(message, "ce_id") == Some(ce_id.as_str())
        && kafka::text_header(message, "ce_type") == Some(event.kind.word());
    check.expect(is_whole, Altered, || {
        format!("{}:{position}: the key or the headers of {ce_id}", case.status_topic)
    });
    let slot = records.slots.get(event.order);
    let version = event.version.unwrap_or(0);
    match event.kind {
        OwnKind::Created => slot.created_version = slot.created_version.max(version),
        OwnKind::Updated => slot.updated_version = slot.updated_version.max(version),
        OwnKind::Completed | OwnKind::Cancelled => {}
    }
    if let Some(rank) = event.kind.rank() {
        slot.add_event(position, rank, event.kind == OwnKind::Created);
    }
    let index = u32::try_from(records.own.len()).expect("fewer than 4 billion events");
    records.status.push(position, Origin::Own(index), false);
    records.own.push(event);
}

/// Returns an event of the order service and the id of its order, if this is one.
fn own_event(case: &Case, message: &BorrowedMessage<'_>) -> Option<(OwnEvent, String)> {
    let value: OwnValue = serde_json::from_slice(message.payload()?).ok()?;
    let order = case.traffic.order_number(&value.order_id)?;
    let created_at = OffsetDateTime::parse(&value.created_at, &Rfc3339).ok()?;
    let event = OwnEvent { order, kind: value.status, version: value.version, created_at };
    Some((event, value.order_id))
}

/// Checks that each acknowledged record is on its topic.
fn check_ledger(case: &Case, stream: Stream, records: &mut Records) -> anyhow::Result<CheckResult> {
    let name = format!("{} topic: every acknowledged record", stream.name());
    let mut check = CheckResult::new(0, &name);
    let path = Ledger::path(&case.ledger_dir, stream);
    if !path.exists() {
        check.not_checked = Some(format!("{} does not exist", path.display()));
        return Ok(check);
    }
    let index = match stream {
        Stream::Orders => &mut records.orders,
        Stream::Status => &mut records.status,
    };
    for ack in Ledger::entries(&path)? {
        let ack = ack?;
        check.checked += 1;
        let found = index.find(ack.partition, ack.offset).map(|entry| entry.origin);
        check.expect(found == Some(Origin::Sent(ack.number)), LostByKafka, || {
            format!("record {} at {}:{}", ack.number, ack.partition, ack.offset)
        });
    }
    Ok(check)
}
