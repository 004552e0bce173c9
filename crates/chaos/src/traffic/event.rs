//! The status events of the traffic, as other systems send them: in any spelling, with or without
//! key, version and headers, and records that are not events.

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    dice::{Dice, Purpose},
    id,
};

/// An event as it must be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The number of the order.
    pub order: u64,
    /// The status as it is written, without the blanks around it.
    pub word: String,
    /// The rank of the status, from 0 (created) to 6 (cancelled); `None` if it has none.
    pub rank: Option<i16>,
    pub created_at: Option<OffsetDateTime>,
    pub version: Option<i32>,
}

/// Words for each rank.
const WORDS: [&[&str]; 7] = [
    &["created", "CREATED", "Created"],
    &["pending", "Pending"],
    &["confirmed", "CONFIRMED"],
    &["cooking", "cookING"],
    &["delivering", "Delivering"],
    &["completed", "delivered", "Completed", "DELIVERED"],
    &["cancelled", "canceled", "deleted", "Deleted", "CANCELED"],
];
/// Words without a rank.
const OTHER_WORDS: &[&str] = &["updated", "UPDATED", "lost", "оплачен", "creating", "complete d"];

/// Returns the rank of step `step` of the walk of an order that has `steps` of them.
fn rank(dice: &mut Dice, step: u64, steps: u64) -> Option<i16> {
    if dice.chance(3.0) {
        return None;
    }
    let is_last = step + 1 == steps;
    let kind = dice.below(100);
    Some(match kind {
        // An event from another order service.
        0..3 => 0,
        3..80 if is_last => 5,
        80..98 if is_last => 6,
        3..6 => 5,
        6..8 => 6,
        _ => i16::try_from(1 + (step + dice.below(3)).min(3)).expect("it is at most 4"),
    })
}

/// Returns an event and the value of its record.
pub(crate) fn event(seed: u64, number: u64, order: u64, step: u64, steps: u64) -> (Event, Vec<u8>) {
    let mut dice = Dice::new(seed, Purpose::Event, number);
    let dice = &mut dice;
    let rank = rank(dice, step, steps);
    let word = match rank {
        Some(rank) => dice.pick(WORDS[usize::try_from(rank).expect("a rank is not negative")]),
        None => dice.pick(OTHER_WORDS),
    };
    let (created_at, created_at_json) = created_at(dice);
    let (version, version_json) = version(dice);
    let order_id = id::id(seed, order);
    let order_id_json = if id::is_digits(seed, order) && dice.chance(70.0) {
        order_id
    } else {
        serde_json::to_string(&order_id).expect("a text becomes JSON")
    };
    let blanks = if dice.chance(3.0) { [" ", "\\n"] } else { ["", ""] };
    let mut fields = vec![
        format!("\"order_id\":{order_id_json}"),
        format!("\"status\":\"{}{word}{}\"", blanks[0], blanks[1]),
    ];
    fields.extend(created_at_json.map(|value| format!("\"created_at\":{value}")));
    fields.extend(version_json.map(|value| format!("\"version\":{value}")));
    if dice.chance(2.0) {
        fields.push("\"x-unknown\":{\"order_id\":null}".to_owned());
    }
    let start = dice.index(fields.len());
    fields.rotate_left(start);
    let event = Event { order, word: (*word).to_owned(), rank, created_at, version };
    (event, format!("{{{}}}", fields.join(",")).into_bytes())
}

/// Returns the time of an event, and the JSON in its place.
fn created_at(dice: &mut Dice) -> (Option<OffsetDateTime>, Option<String>) {
    let second = i64::try_from(1_700_000_000 + dice.below(100_000_000)).expect("it is small");
    let whole = OffsetDateTime::from_unix_timestamp(second).expect("the year is of this century");
    let quoted = |instant: OffsetDateTime| {
        let text = instant.format(&Rfc3339).expect("the year has four digits");
        Some(format!("\"{text}\""))
    };
    match dice.below(20) {
        0..12 => (Some(whole), quoted(whole)),
        12..15 => {
            let micros = i64::try_from(dice.below(1_000_000)).expect("it is small");
            let instant = whole + Duration::microseconds(micros);
            (Some(instant), quoted(instant))
        }
        15 => (None, Some(second.to_string())),
        16 => (None, Some("\"2024-01-01 12:00\"".to_owned())),
        17 => (None, Some("null".to_owned())),
        _ => (None, None),
    }
}

/// Returns the version of an event, and the JSON in its place.
fn version(dice: &mut Dice) -> (Option<i32>, Option<String>) {
    match dice.below(20) {
        0..6 => {
            let version = i32::try_from(1 + dice.below(5)).expect("it is small");
            (Some(version), Some(version.to_string()))
        }
        6 => (Some(i32::MAX), Some(i32::MAX.to_string())),
        7 => {
            let wrong = ["0", "-1", "\"1\"", "1.5", "2147483648", "true"];
            (None, Some((*dice.pick(&wrong)).to_owned()))
        }
        _ => (None, None),
    }
}

/// Values that are not events, with the reason of the rejection.
const POISON: &[(Option<&[u8]>, &str)] = &[
    (None, "null_record"),
    (Some(b""), "empty_record"),
    (Some(b"\xff\xfe{}"), "invalid_utf8"),
    (Some(b"no event"), "invalid_json"),
    (Some(b"{\"order_id\":\"1\",\"status\":\"created\"} x"), "invalid_json"),
    (Some(b"{\"order_id\":\"\\ud800\",\"status\":\"created\"}"), "invalid_json"),
    (Some(b"null"), "not_an_object"),
    (Some(b"[{\"order_id\":\"1\",\"status\":\"created\"}]"), "not_an_object"),
    (Some(b"17"), "not_an_object"),
    (Some(b"{}"), "missing"),
    (Some(b"{\"order_id\":\"1\"}"), "missing"),
    (Some(b"{\"status\":\"created\"}"), "missing"),
    (Some(b"{\"order_id\":null,\"status\":\"created\"}"), "missing"),
    (Some(b"{\"order_id\":\" \",\"status\":\"created\"}"), "blank"),
    (Some(b"{\"order_id\":\"1\",\"status\":\" \"}"), "blank"),
    (Some(b"{\"order_id\":\"1\",\"status\":5}"), "wrong_type"),
    (Some(b"{\"order_id\":1.5,\"status\":\"created\"}"), "wrong_type"),
    (Some(b"{\"order_id\":[\"1\"],\"status\":\"created\"}"), "wrong_type"),
    (Some(b"{\"order_id\":\"1\",\"order_id\":\"2\",\"status\":\"created\"}"), "duplicate_key"),
    (Some(b"{\"order_id\":\"1\",\"status\":\"created\",\"status\":\"x\"}"), "duplicate_key"),
    (Some(b"{\"order_id\":\"a\\u0000b\",\"status\":\"created\"}"), "control_character"),
    (Some(b"{\"order_id\":\"1\",\"status\":\"a\\u0001b\"}"), "control_character"),
    (Some(b"{\"order_id\":\"..\",\"status\":\"created\"}"), "dots"),
    (
        Some(
            b"{\"order_id\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\",\"status\":\"created\"}",
        ),
        "too_long",
    ),
];

/// Returns the value that a number is instead of an event, and the reason of its rejection.
pub(crate) fn poison(seed: u64, number: u64) -> (Option<Vec<u8>>, &'static str) {
    let (value, reason) = *Dice::new(seed, Purpose::Poison, !number).pick(POISON);
    (value.map(<[u8]>::to_vec), reason)
}
