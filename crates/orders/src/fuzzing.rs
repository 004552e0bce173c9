//! The entry points of the fuzz targets. Each one checks properties that hold for all inputs, and
//! panics if one does not hold.

use serde_json::Value;

use crate::{
    ingest::copied_row::EncodedOrder,
    lookup,
    order::{
        Order,
        content_hash::ContentHash,
        parse::{MAX_ORDERS, MAX_RECORD_BYTES, ValidOrder, parse, parse_many},
        properties::{assert_both_paths_agree, assert_reads_like_serde_json},
        violation::{Code, MAX_VIOLATIONS, Violation},
    },
};

/// Checks the value of a record of the orders topic: it is an order or a rejection, both paths of
/// the parser agree, and the canonical order is read as the same order with the same hash.
pub fn order(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes)
        && text.len() <= MAX_RECORD_BYTES
    {
        assert_both_paths_agree(text);
    }
    match parse(Some(bytes)) {
        Ok(order) => assert_valid(order),
        Err(rejection) => {
            assert_violations(&rejection.violations);
            assert_eq!(rejection.reason, rejection.violations[0].code);
        }
    }
}

/// Checks the body of `POST /order`: one order or an array, all or nothing.
pub fn request(bytes: &[u8]) {
    let is_array = bytes.trim_ascii_start().starts_with(b"[");
    match parse_many(bytes) {
        Ok(orders) => {
            assert!((1..=MAX_ORDERS).contains(&orders.len()));
            assert!(is_array || orders.len() == 1);
            for order in orders {
                assert!(order.json.len() <= MAX_RECORD_BYTES);
                assert_valid(order);
            }
        }
        Err(violations) => {
            assert_violations(&violations);
            if !is_array && let Ok(order) = parse(Some(bytes)) {
                assert!(order.json.len() > MAX_RECORD_BYTES, "a valid order is refused");
            }
        }
    }
}

/// Checks that the second pass reads JSON as `serde_json` does.
pub fn json(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        assert_reads_like_serde_json(text);
    }
}

/// Checks the values in Redis and in memory. The first line is the id of an order, the rest is a
/// value.
pub fn cached(bytes: &[u8]) {
    lookup::fuzzing::assert_cached(bytes);
}

/// Checks what reads a short text of a request.
pub fn text(text: &str) {
    if let Ok(hash) = text.parse::<ContentHash>() {
        assert_eq!(hash.to_string(), text.to_ascii_lowercase());
    }
}

fn assert_valid(order: ValidOrder<'_>) {
    assert_eq!(order.hash, ContentHash::of(&order.json));
    assert_eq!(Order::from_canonical(&order.json).as_ref().ok(), Some(&order.order));
    if order.json.len() <= MAX_RECORD_BYTES {
        let again = parse(Some(&order.json)).expect("the canonical order is valid");
        assert_eq!(again.json, order.json);
        assert_eq!((again.hash, again.unknown_fields), (order.hash, 0));
        assert_eq!((&again.order, &again.warnings), (&order.order, &order.warnings));
    }
    let json: Value = serde_json::from_slice(&order.json).expect("the canonical order is JSON");
    assert!(!contains_nul(&json), "PostgreSQL cannot store U+0000");

    let encoded = EncodedOrder::from(order);
    assert_eq!(encoded.order().order_uid, encoded.order_uid);
}

fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(contains_nul),
        Value::Object(fields) => fields.values().any(contains_nul),
        _ => false,
    }
}

/// Checks a list of violations: it is not empty, it is bounded, and a terminal, a header and
/// PostgreSQL can hold its texts.
fn assert_violations(violations: &[Violation]) {
    assert!((1..=MAX_VIOLATIONS + 1).contains(&violations.len()));
    for Violation { pointer, code, message } in violations {
        assert!(Code::ALL.iter().any(|known| known.as_str() == code), "{code}");
        assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer}");
        assert!(!pointer.chars().chain(message.chars()).any(char::is_control));
        assert!(pointer.len() < 1_024 && message.len() < 1_024);
    }
}
