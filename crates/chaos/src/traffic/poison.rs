//! Records of the orders stream that must be rejected, with the reason: valid orders with one
//! fault, the records of [`testkit::bad_records`], and valid orders that the database refuses.

use std::sync::OnceLock;

use serde_json::Value;
use testkit::bad_records::{BadRecord, bad_records};

use super::{
    dice::{Dice, Purpose},
    order::order,
};

/// Records above this size are sent rarely.
const LARGE: usize = 50_000;

/// The text of the field `entry` of orders that the parser accepts and the database refuses.
const REFUSED_ENTRY: &str = "refused by the database";

/// Returns the statement after which the database of the order service refuses these orders. It has
/// to be executed before any record is sent.
pub(crate) fn refuse_statement() -> String {
    format!(
        "ALTER TABLE orders.orders ADD CONSTRAINT chaos_refused CHECK (entry <> '{REFUSED_ENTRY}')"
    )
}

/// A value that must be rejected.
pub(crate) struct Poison {
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) reason: &'static str,
}

/// Returns the wrong order that a number is.
pub(crate) fn poison(seed: u64, number: u64) -> Poison {
    let mut dice = Dice::new(seed, Purpose::Poison, number);
    match dice.below(400) {
        0 => known(dice.pick(&known_records().large)),
        // A third. Each of them splits its batch, and some have to arrive while a failpoint of the
        // split is armed.
        1..131 => refused(seed, number),
        131..265 => known(dice.pick(&known_records().small)),
        _ => wrong(seed, number, &mut dice),
    }
}

struct KnownRecords {
    small: Vec<BadRecord>,
    large: Vec<BadRecord>,
}

fn known_records() -> &'static KnownRecords {
    static RECORDS: OnceLock<KnownRecords> = OnceLock::new();
    RECORDS.get_or_init(|| {
        let is_small =
            |record: &BadRecord| record.bytes.as_ref().is_none_or(|bytes| bytes.len() <= LARGE);
        let (small, large) = bad_records().into_iter().partition(is_small);
        KnownRecords { small, large }
    })
}

fn known(record: &BadRecord) -> Poison {
    Poison { value: record.bytes.clone(), reason: record.reason }
}

fn refused(seed: u64, number: u64) -> Poison {
    let mut order = order(seed, number, number);
    order.entry = REFUSED_ENTRY.to_owned();
    Poison { value: Some(order.canonical().into_bytes()), reason: "refused_by_database" }
}

/// A field and the raw JSON in its place, and the reason of the rejection.
const FAULTS: &[(&str, &str, &str)] = &[
    ("order_uid", "null", "missing"),
    ("order_uid", "\" \"", "blank"),
    ("order_uid", "\"a\\u0007b\"", "control_character"),
    ("order_uid", "\"..\"", "dots"),
    ("order_uid", "17", "wrong_type"),
    ("track_number", "\"\"", "blank"),
    ("track_number", "\"\\u0000\"", "nul_character"),
    ("customer_id", "[\"a\"]", "wrong_type"),
    ("delivery_service", "\"\\ud800\"", "lone_surrogate"),
    ("date_created", "\"yesterday\"", "invalid_date"),
    ("date_created", "\"2021-11-26T06:22:19\"", "invalid_date"),
    ("date_created", "1637907739", "wrong_type"),
    ("sm_id", "\"99\"", "wrong_type"),
    ("sm_id", "1.5", "not_an_integer"),
    ("sm_id", "92233720368547758070", "out_of_range"),
    ("delivery", "null", "missing"),
    ("payment", "[]", "wrong_type"),
    ("items", "[]", "no_items"),
    ("items", "[null]", "missing"),
    ("locale", "{}", "wrong_type"),
];

/// Returns a valid order with one fault.
fn wrong(seed: u64, number: u64, dice: &mut Dice) -> Poison {
    let mut order = order(seed, number, number);
    let text = |order: super::order::Order, reason| Poison {
        value: Some(order.canonical().into_bytes()),
        reason,
    };
    match dice.below(12) {
        0 => {
            order.payment.currency = "XYZ".to_owned();
            text(order, "unknown_currency")
        }
        1 => {
            order.payment.amount = -1;
            text(order, "negative")
        }
        2 => {
            order.delivery.phone = "call me".to_owned();
            text(order, "implausible_phone")
        }
        3 => {
            order.delivery.email = "nobody".to_owned();
            text(order, "implausible_email")
        }
        4 => {
            order.order_uid.push_str(&"x".repeat(101));
            text(order, "too_long")
        }
        5 => {
            order.payment.delivery_cost = i64::MAX;
            order.payment.goods_total = i64::MAX;
            text(order, "sum_overflow")
        }
        6 => {
            let mut bytes = order.canonical().into_bytes();
            bytes.truncate(1 + dice.index(bytes.len() - 1));
            // The beginning of an order can end within a character.
            let is_text = std::str::from_utf8(&bytes).is_ok();
            let reason = if is_text { "invalid_json" } else { "invalid_utf8" };
            Poison { value: Some(bytes), reason }
        }
        7 => {
            let json = order.canonical();
            let twice = json.replacen("\"locale\":", "\"sm_id\":0,\"locale\":", 1);
            Poison { value: Some(twice.into_bytes()), reason: "duplicate_key" }
        }
        _ => {
            let (key, raw, reason) = *dice.pick(FAULTS);
            Poison { value: Some(replaced(&order.canonical(), key, raw).into_bytes()), reason }
        }
    }
}

/// Returns canonical JSON with a raw value in place of the one of a key at the top.
fn replaced(json: &str, key: &str, raw: &str) -> String {
    const MARK: &str = "@@fault@@";
    let mut order: Value = serde_json::from_str(json).expect("a canonical order is JSON");
    order[key] = MARK.into();
    order.to_string().replace(&format!("\"{MARK}\""), raw)
}
