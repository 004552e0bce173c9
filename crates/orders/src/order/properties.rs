//! Properties of the parser that hold for all texts. The property tests of this folder and the fuzz
//! targets check them.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::order::{
    Order,
    diagnose::diagnose,
    json::{Json, JsonError, read},
    message::{NotPlain, decode},
    violation::Rejection,
};

/// Asserts that the fast path and the second pass agree on a record.
pub(crate) fn assert_both_paths_agree(text: &str) {
    let slow = diagnose(text);
    match (decode(text).map(Order::try_from), slow) {
        (Ok(Ok(order)), Ok(extended)) => {
            assert_eq!((extended.order, extended.unknown_fields), (order, 0));
        }
        (Ok(Err(plain)), Err(explained)) => {
            assert_eq!(Rejection::from(plain), Rejection::from(explained));
        }
        (Err(NotPlain), Ok(extended)) => {
            assert!(extended.unknown_fields > 0 || text.contains("-0"), "{text}");
        }
        (Err(NotPlain), Err(violations)) => assert!(!violations.is_empty()),
        (fast, slow) => panic!("{fast:?}\n{slow:?}\n{text}"),
    }
}

/// Asserts that the second pass reads a text as `serde_json` does, which defines valid JSON: both
/// agree on every value that `serde_json` can represent. Only the depth of values is limited.
pub(crate) fn assert_reads_like_serde_json(text: &str) {
    let json = read(text);
    let valid = serde_json::from_str::<IgnoredAny>(text).is_ok();
    assert!(json.is_ok() == valid || json == Err(JsonError::TooDeep), "{text:?}: {json:?}");
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        assert!(json.is_ok_and(|json| agrees(&json, &value)), "{text:?}");
    }
}

fn agrees(json: &Json<'_>, value: &Value) -> bool {
    match (json, value) {
        (Json::Null, Value::Null) | (Json::Bool, Value::Bool(_)) => true,
        (Json::Number(digits), Value::Number(number)) => {
            let numbers = digits.parse::<f64>().ok().zip(number.as_f64());
            // serde_json may miss the nearest double by a rounding error.
            numbers.is_some_and(|(read, other)| {
                (read - other).abs() <= read.abs() * 1e-12 + f64::MIN_POSITIVE
            })
        }
        (Json::Text(text), Value::String(other)) => text == other,
        (Json::Array(values), Value::Array(others)) => {
            values.len() == others.len()
                && values.iter().zip(others).all(|(value, other)| agrees(value, other))
        }
        // Of a repeated key serde_json keeps the last value.
        (Json::Object(entries), Value::Object(others)) => others.iter().all(|(key, other)| {
            let found = entries.iter().rfind(|(name, _)| name.as_deref() == Some(key));
            found.is_some_and(|(_, value)| agrees(value, other))
        }),
        _ => false,
    }
}
