//! Properties of status events, delivery events, order ids and instants. The status events are compared with a second reader,
//! which uses `serde_json::Value`.

use std::fmt;

use events::{
    DeliveryEvent, EVENT_RULES, MAX_UID_BYTES, MAX_WORD_BYTES, OrderStatus, OrderUid, StatusEvent,
    StatusWord, parse_instant,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

/// Checks the value of a record of the status topic: it is an event or a list of violations.
pub(crate) fn event(bytes: &[u8]) {
    match StatusEvent::read(Some(bytes)) {
        Ok(event) => assert_event(bytes, &event),
        Err(violations) => {
            assert!(!is_event(bytes), "an event is rejected: {violations:?}");
            assert!((1..=4).contains(&violations.len()), "{violations:?}");
            for violation in violations {
                assert!(["", "/order_id", "/status"].contains(&violation.pointer));
                assert!(EVENT_RULES.contains(&(violation.code, violation.message)));
            }
        }
    }
}

/// Checks the value of a record of the deliveries topic: it is an event, or there is a reason why not.
pub(crate) fn delivery(bytes: &[u8]) {
    const REASONS: [&str; 5] = ["not_an_object", "order_id", "status", "at", "number"];
    match DeliveryEvent::read(Some(bytes)) {
        Ok(event) => {
            assert_uid(&event.order_id);
            assert!(event.number > 0);
            let written = serde_json::to_vec(&event).expect("an event has string keys");
            assert_eq!(DeliveryEvent::read(Some(&written)), Ok(event));
        }
        Err(reason) => assert!(REASONS.contains(&reason), "{reason}"),
    }
}

/// Checks what reads a short text of an event or of a request.
pub(crate) fn text(text: &str) {
    if let Ok(uid) = text.parse::<OrderUid>() {
        assert_uid(&uid);
        assert_eq!(uid.as_str(), text);
    }
    if let Some(instant) = parse_instant(text) {
        let written = instant.format(&Rfc3339).expect("the year is 0 to 9999");
        assert_eq!(parse_instant(&written), Some(instant));
        assert_eq!(instant.nanosecond() % 1_000, 0);
    }
    // A status never becomes lower, and a repeated word changes nothing.
    let word = StatusWord::read(text);
    for before in [None].into_iter().chain(OrderStatus::ALL.map(Some)) {
        let after = word.advance(before);
        assert!(after >= before);
        assert_eq!(word.advance(after), after);
    }
}

fn assert_uid(uid: &OrderUid) {
    assert!(uid.as_str().len() <= MAX_UID_BYTES && !uid.as_str().trim().is_empty());
    assert!(!uid.as_str().chars().any(char::is_control));
}

fn assert_event(bytes: &[u8], event: &StatusEvent) {
    assert_uid(&event.order_id);
    assert!((1..=MAX_WORD_BYTES).contains(&event.status.len()));
    assert_eq!(event.status.trim(), event.status);
    assert_eq!(event.word, StatusWord::read(&event.status));
    assert!(event.version.is_none_or(|version| version > 0));

    let mut written = json!({"order_id": event.order_id.as_str(), "status": event.status.as_str()});
    if let Some(at) = event.created_at {
        written["created_at"] = at.format(&Rfc3339).expect("the year is 0 to 9999").into();
    }
    if let Some(version) = event.version {
        written["version"] = version.into();
    }
    assert_eq!(StatusEvent::read(Some(written.to_string().as_bytes())).as_ref(), Ok(event));

    let Ok(Fields(fields)) = serde_json::from_slice(bytes) else { return };
    // The first value of an optional field counts; a required field is not repeated.
    let value = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    assert_eq!(value("order_id").and_then(id_text).as_deref(), Some(event.order_id.as_str()));
    let status = value("status").and_then(Value::as_str).map(str::trim);
    assert_eq!(status, Some(event.status.as_str()));
    let created_at = value("created_at").and_then(Value::as_str).and_then(parse_instant);
    assert_eq!(event.created_at, created_at);
    let version = value("version").and_then(Value::as_i64).and_then(|it| i32::try_from(it).ok());
    assert_eq!(event.version, version.filter(|version| *version > 0));
}

/// Returns true if the second reader finds an event.
fn is_event(bytes: &[u8]) -> bool {
    let Ok(Fields(fields)) = serde_json::from_slice(bytes) else { return false };
    let only = |name: &str| {
        let mut values = fields.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    };
    let id = only("order_id").and_then(id_text);
    let status = only("status").and_then(Value::as_str).map(str::trim);
    id.is_some_and(|id| id.parse::<OrderUid>().is_ok())
        && status.is_some_and(|status| {
            (1..=MAX_WORD_BYTES).contains(&status.len()) && !status.chars().any(char::is_control)
        })
}

/// Returns the text of an order id, which may be a whole number of 64 bits.
fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) if id.is_i64() || id.is_u64() => Some(id.to_string()),
        _ => None,
    }
}

/// The fields of an object in their order, repeated ones included.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
