//! An event on the status topic, from any sender. Pure: it turns the bytes of a record into an
//! event or into all of its violations. The rules are in [`event_rules`](crate::event_rules), the
//! JSON in [`event_fields`](crate::event_fields). The events that the order service itself
//! publishes are in [`order_event`](crate::order_event).

use std::borrow::Cow;

use compact_str::CompactString;
use serde::de::IgnoredAny;
use time::OffsetDateTime;

use crate::{
    EventViolation, InvalidOrderUid, OrderUid, StatusWord,
    event_fields::{FieldValue, Fields},
    event_rules::{
        BLANK, CONTROL_CHARACTER, DOTS, EMPTY_RECORD, ID_TOO_LONG, INVALID_JSON, INVALID_UTF8,
        MISSING, NOT_AN_OBJECT, NULL_RECORD, Rule, WORD_TOO_LONG, WRONG_TYPE,
    },
    parse_instant,
};

/// The longest status word, in bytes of UTF-8.
pub const MAX_WORD_BYTES: usize = 255;

/// An event on the status topic as its sender wrote it. It is read tolerantly, because other
/// programs write such events, too: only an event that names no order or no status is invalid.
/// Unknown fields are ignored, and an optional field that cannot be read counts as absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusEvent {
    pub order_id: OrderUid,
    /// The status as it was written, without surrounding white space.
    pub status: CompactString,
    /// The meaning of `status`.
    pub word: StatusWord,
    /// The time of the event by the clock of its sender, in UTC.
    pub created_at: Option<OffsetDateTime>,
    /// The version of the order to which the event refers, from 1.
    pub version: Option<i32>,
}

impl StatusEvent {
    /// Reads the value of a record. The error contains every violation, at least one.
    pub fn read(value: Option<&[u8]>) -> Result<Self, Vec<EventViolation>> {
        let fields = fields(value).map_err(|rule| vec![EventViolation::new("", rule)])?;
        let mut violations = fields.repeated;
        let order_id = field("/order_id", fields.order_id, order_id, &mut violations);
        let status = field("/status", fields.status, status, &mut violations);
        let (created_at, version) = (created_at(fields.created_at), version(fields.version));
        match (order_id, status) {
            (Some(order_id), Some(status)) if violations.is_empty() => {
                let word = StatusWord::read(&status);
                Ok(Self { order_id, status, word, created_at, version })
            }
            _ => Err(violations),
        }
    }
}

fn fields(value: Option<&[u8]>) -> Result<Fields<'_>, Rule> {
    let value = value.ok_or(NULL_RECORD)?;
    if value.is_empty() {
        return Err(EMPTY_RECORD);
    }
    let text = std::str::from_utf8(value).map_err(|_| INVALID_UTF8)?;
    match serde_json::from_str::<Option<Fields<'_>>>(text) {
        Ok(fields) => fields.ok_or(NOT_AN_OBJECT),
        // Valid JSON: either it is not an object, or it is an object with text that cannot be
        // decoded, such as half of a surrogate pair.
        Err(_) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            Err(if text.trim_start().starts_with('{') { INVALID_JSON } else { NOT_AN_OBJECT })
        }
        Err(_) => Err(INVALID_JSON),
    }
}

fn field<'a, T>(
    pointer: &'static str,
    value: Option<FieldValue<'a>>,
    parse: fn(FieldValue<'a>) -> Result<T, Rule>,
    violations: &mut Vec<EventViolation>,
) -> Option<T> {
    parse(value.unwrap_or_default())
        .map_err(|rule| violations.push(EventViolation::new(pointer, rule)))
        .ok()
}

fn order_id(value: FieldValue<'_>) -> Result<OrderUid, Rule> {
    let text = match value {
        FieldValue::Whole(number) => number.to_string().into(),
        value => required_text(value)?,
    };
    text.parse().map_err(|error| match error {
        InvalidOrderUid::Blank => BLANK,
        InvalidOrderUid::TooLong(_) => ID_TOO_LONG,
        InvalidOrderUid::ControlCharacter => CONTROL_CHARACTER,
        InvalidOrderUid::Dots => DOTS,
    })
}

fn status(value: FieldValue<'_>) -> Result<CompactString, Rule> {
    let text = required_text(value)?;
    let word = text.trim();
    if word.is_empty() {
        Err(BLANK)
    } else if word.len() > MAX_WORD_BYTES {
        Err(WORD_TOO_LONG)
    } else if word.chars().any(char::is_control) {
        Err(CONTROL_CHARACTER)
    } else {
        Ok(word.into())
    }
}

fn created_at(value: Option<FieldValue<'_>>) -> Option<OffsetDateTime> {
    let Some(FieldValue::Text(text)) = value else { return None };
    parse_instant(&text)
}

fn version(value: Option<FieldValue<'_>>) -> Option<i32> {
    let Some(FieldValue::Whole(number)) = value else { return None };
    i32::try_from(number).ok().filter(|version| *version > 0)
}

fn required_text(value: FieldValue<'_>) -> Result<Cow<'_, str>, Rule> {
    match value {
        FieldValue::Text(text) => Ok(text),
        FieldValue::Null => Err(MISSING),
        FieldValue::Whole(_) | FieldValue::Other => Err(WRONG_TYPE),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;
    use crate::{EventType, OrderEvent, OrderStatus};

    fn violations(text: &str) -> Vec<(&'static str, &'static str)> {
        let wrong = StatusEvent::read(Some(text.as_bytes())).unwrap_err();
        wrong.into_iter().map(|violation| (violation.pointer, violation.code)).collect()
    }

    #[test]
    fn the_example_of_the_seeds_is_read() {
        let text = "{\n    \"order_id\": \"123\",\n    \"status\": \"created\",\n    \"created_at\": \"2025-08-06T12:00:00Z\"\n  }";
        assert_eq!(
            StatusEvent::read(Some(text.as_bytes())),
            Ok(StatusEvent {
                order_id: "123".parse().unwrap(),
                status: "created".into(),
                word: StatusWord::Status(OrderStatus::Created),
                created_at: Some(datetime!(2025-08-06 12:00 UTC)),
                version: None,
            })
        );
    }

    #[test]
    fn events_of_the_order_service_are_read() {
        let sent = OrderEvent {
            order_id: "b563feb7b2b84b6test".parse().unwrap(),
            status: EventType::Updated,
            created_at: "2021-11-26T06:22:19.123456789Z".into(),
            version: Some(7),
        };
        let read = StatusEvent::read(Some(&serde_json::to_vec(&sent).unwrap())).unwrap();
        assert_eq!(
            (read.order_id, read.word, read.created_at, read.version),
            (
                sent.order_id,
                StatusWord::Updated,
                Some(datetime!(2021-11-26 06:22:19.123456 UTC)),
                sent.version
            )
        );
    }

    #[test]
    fn an_unknown_word_is_kept_as_it_was_written() {
        let read =
            StatusEvent::read(Some(br#"{"order_id":"1","status":" lost ","x":[1]}"#)).unwrap();
        assert_eq!((read.status.as_str(), read.word), ("lost", StatusWord::Unknown));
    }

    #[test]
    fn a_value_that_is_no_event_has_one_violation() {
        assert_eq!(StatusEvent::read(None).unwrap_err()[0].code, "null_record");
        assert_eq!(StatusEvent::read(Some(b"")).unwrap_err()[0].code, "empty_record");
        assert_eq!(StatusEvent::read(Some(b"\xff")).unwrap_err()[0].code, "invalid_utf8");
        for (text, code) in [
            (" ", "invalid_json"),
            ("{", "invalid_json"),
            ("{}{}", "invalid_json"),
            (r#"{"order_id":"\ud800"}"#, "invalid_json"),
            ("null", "not_an_object"),
            ("[]", "not_an_object"),
            ("\"created\"", "not_an_object"),
            ("7", "not_an_object"),
        ] {
            assert_eq!(violations(text), [("", code)], "{text}");
        }
    }

    #[test]
    fn all_violations_are_listed_at_once() {
        assert_eq!(violations("{}"), [("/order_id", "missing"), ("/status", "missing")]);
        assert_eq!(
            violations(
                r#"{"x":1,"x":2,"order_id":"a\u0000","order_id":"b","status":null,"status":1,"status":2}"#
            ),
            [
                ("/order_id", "duplicate_key"),
                ("/status", "duplicate_key"),
                ("/order_id", "control_character"),
                ("/status", "missing")
            ]
        );
        assert_eq!(
            violations(r#"{"order_id":1.5,"status":[]}"#),
            [("/order_id", "wrong_type"), ("/status", "wrong_type")]
        );
        let long = format!(r#"{{"order_id":"{0}","status":"{0}{0}{0}"}}"#, "x".repeat(101));
        assert_eq!(violations(&long), [("/order_id", "too_long"), ("/status", "too_long")]);
        assert_eq!(
            violations(r#"{"order_id":"1","status":"a\u0007b"}"#),
            [("/status", "control_character")]
        );
        assert_eq!(violations(r#"{"order_id":"..","status":"created"}"#), [("/order_id", "dots")]);
    }

    #[test]
    fn an_order_id_may_be_a_whole_number_of_64_bits() {
        for id in ["7", "-7", "0", "18446744073709551615", "-9223372036854775808"] {
            let text = format!(r#"{{"order_id":{id},"status":"created"}}"#);
            assert_eq!(StatusEvent::read(Some(text.as_bytes())).unwrap().order_id.as_str(), id);
        }
        assert_eq!(
            violations(r#"{"order_id":18446744073709551616,"status":"created"}"#),
            [("/order_id", "wrong_type")]
        );
    }

    #[test]
    fn an_optional_field_that_cannot_be_read_counts_as_absent() {
        let read = |fields: &str| {
            let text = format!(r#"{{"order_id":"1","status":"created",{fields}}}"#);
            let event = StatusEvent::read(Some(text.as_bytes())).unwrap();
            (event.created_at, event.version)
        };
        for created_at in [
            "null",
            r#""""#,
            r#""yesterday""#,
            r#""2025-08-06 12:00:00 Moscow""#,
            "1754481600",
            "1.5",
            "[]",
            r#""9999-12-31T23:59:59-00:01""#,
            r#""0000-01-01T00:00:00+00:01""#,
        ] {
            assert_eq!(
                read(&format!(r#""created_at":{created_at}"#)),
                (None, None),
                "{created_at}"
            );
        }
        for version in ["null", "0", "-1", "1.5", "2147483648", "99999999999999999999", r#""17""#] {
            assert_eq!(read(&format!(r#""version":{version}"#)), (None, None), "{version}");
        }
        assert_eq!(
            read(r#""version":2147483647,"created_at":"2025-08-06T14:00:00+02:00","version":2"#),
            (Some(datetime!(2025-08-06 12:00 UTC)), Some(i32::MAX))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(violations) = StatusEvent::read(Some(&bytes)) {
                prop_assert!(!violations.is_empty());
            }
        }

        #[test]
        fn every_id_and_word_survives_the_wire(
            id in "[^\\p{Cc}]{1,25}", status in "[^\\p{Cc}]{1,60}", version in 1..=i32::MAX,
        ) {
            prop_assume!(OrderUid::check(&id).is_ok() && !status.trim().is_empty());
            let text = serde_json::json!({ "order_id": id, "status": status, "version": version });
            let read = StatusEvent::read(Some(text.to_string().as_bytes())).unwrap();
            prop_assert_eq!(read.order_id.as_str(), id);
            prop_assert_eq!(read.status.as_str(), status.trim());
            prop_assert_eq!(read.version, Some(version));
        }
    }
}
