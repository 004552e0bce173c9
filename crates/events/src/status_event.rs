//! What any event on the status topic says, whoever sent it. Pure: bytes in, an event or everything
//! that is wrong with it out.

use std::{borrow::Cow, collections::HashSet, fmt};

use compact_str::CompactString;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{InvalidOrderUid, OrderUid, StatusWord};

/// The longest status word, in bytes of UTF-8.
pub const MAX_WORD_BYTES: usize = 255;

/// An event on the status topic, as it was told. Fields that nobody here knows are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusEvent {
    /// The order it is about.
    pub order_id: OrderUid,
    /// The status as it was written, without the blanks around it.
    pub status: CompactString,
    /// What that means.
    pub word: StatusWord,
    /// When it happened, as whoever sent it tells.
    pub created_at: Option<OffsetDateTime>,
    /// The version of the order that it tells of, from 1.
    pub version: Option<i32>,
}

/// A rule that an event breaks. Never repeats a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventViolation {
    /// Where, as a JSON pointer; `""` is the whole event.
    pub pointer: &'static str,
    /// Which rule: stable, listed in `docs/validation.md`.
    pub code: &'static str,
    /// The rule in words.
    pub message: &'static str,
}

macro_rules! rules {
    ($($name:ident $code:literal $message:literal)*) => {
        $(const $name: (&str, &str) = ($code, $message);)*

        /// Every rule of an event: code and sentence, in the order of `docs/validation.md`.
        pub const EVENT_RULES: &[(&str, &str)] = &[$(($code, $message),)*];
    };
}

rules! {
    NULL_RECORD "null_record" "the record has no value"
    EMPTY_RECORD "empty_record" "the record's value is empty"
    INVALID_UTF8 "invalid_utf8" "the record must be UTF-8"
    INVALID_JSON "invalid_json" "the record must be one JSON value"
    NOT_AN_OBJECT "not_an_object" "the event must be a JSON object"
    DUPLICATE_KEY "duplicate_key" "a key must not be repeated within an object"
    WRONG_TYPE "wrong_type" "the value must be of the JSON type that an event has here"
    MISSING "missing" "this field is required"
    BLANK "blank" "must not be blank"
    ID_TOO_LONG "too_long" "an order id must be at most 100 bytes long"
    WORD_TOO_LONG "too_long" "a status must be at most 255 bytes long"
    CONTROL_CHARACTER "control_character" "must not hold control characters"
    INVALID_DATE "invalid_date" "must be a date and time by RFC 3339 with its offset from UTC"
    NOT_AN_INTEGER "not_an_integer" "a number must be whole and written without fraction and exponent"
    OUT_OF_RANGE "out_of_range" "a version must be 1 to 2147483647"
}

type Violations = Vec<EventViolation>;

impl StatusEvent {
    /// Reads a record's value. The error names everything that is wrong, at least one thing.
    pub fn read(value: Option<&[u8]>) -> Result<Self, Vec<EventViolation>> {
        let whole = |rule| vec![violation("", rule)];
        let value = value.ok_or_else(|| whole(NULL_RECORD))?;
        if value.is_empty() {
            return Err(whole(EMPTY_RECORD));
        }
        let text = std::str::from_utf8(value).map_err(|_| whole(INVALID_UTF8))?;
        let fields = match serde_json::from_str::<Option<Fields>>(text) {
            Ok(Some(fields)) => fields,
            Ok(None) => return Err(whole(NOT_AN_OBJECT)),
            // It may be a value of another kind; else it is broken.
            Err(_) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
                return Err(whole(if text.trim_start().starts_with('{') {
                    INVALID_JSON
                } else {
                    NOT_AN_OBJECT
                }));
            }
            Err(_) => return Err(whole(INVALID_JSON)),
        };
        let mut violations = fields.repeated;
        let order_id = order_id(fields.order_id.unwrap_or_default(), &mut violations);
        let status = status(fields.status.unwrap_or_default(), &mut violations);
        let created_at = created_at(fields.created_at.unwrap_or_default(), &mut violations);
        let version = version(fields.version.unwrap_or_default(), &mut violations);
        match (order_id, status) {
            (Some(order_id), Some(status)) if violations.is_empty() => {
                let word = StatusWord::read(&status);
                Ok(Self { order_id, status, word, created_at, version })
            }
            _ => Err(violations),
        }
    }
}

fn violation(
    pointer: &'static str,
    (code, message): (&'static str, &'static str),
) -> EventViolation {
    EventViolation { pointer, code, message }
}

fn order_id(value: Given<'_>, violations: &mut Violations) -> Option<OrderUid> {
    let pointer = "/order_id";
    let text = required_text(value, pointer, violations)?;
    let rule = match text.parse() {
        Ok(order_id) => return Some(order_id),
        Err(InvalidOrderUid::Blank) => BLANK,
        Err(InvalidOrderUid::TooLong(_)) => ID_TOO_LONG,
        Err(InvalidOrderUid::ControlCharacter) => CONTROL_CHARACTER,
    };
    violations.push(violation(pointer, rule));
    None
}

fn status(value: Given<'_>, violations: &mut Violations) -> Option<CompactString> {
    let pointer = "/status";
    let text = required_text(value, pointer, violations)?;
    let word = text.trim();
    let rule = if word.is_empty() {
        BLANK
    } else if word.len() > MAX_WORD_BYTES {
        WORD_TOO_LONG
    } else if word.chars().any(char::is_control) {
        CONTROL_CHARACTER
    } else {
        return Some(word.into());
    };
    violations.push(violation(pointer, rule));
    None
}

fn created_at(value: Given<'_>, violations: &mut Violations) -> Option<OffsetDateTime> {
    let rule = match value {
        Given::Null => return None,
        Given::Text(text) => match OffsetDateTime::parse(&text, &Rfc3339) {
            Ok(instant) => return Some(instant),
            Err(_) => INVALID_DATE,
        },
        Given::Whole(_) | Given::Fraction | Given::Other => WRONG_TYPE,
    };
    violations.push(violation("/created_at", rule));
    None
}

fn version(value: Given<'_>, violations: &mut Violations) -> Option<i32> {
    let rule = match value {
        Given::Null => return None,
        Given::Fraction => NOT_AN_INTEGER,
        Given::Whole(number) => match i32::try_from(number) {
            Ok(version @ 1..) => return Some(version),
            _ => OUT_OF_RANGE,
        },
        Given::Text(_) | Given::Other => WRONG_TYPE,
    };
    violations.push(violation("/version", rule));
    None
}

fn required_text<'a>(
    value: Given<'a>,
    pointer: &'static str,
    violations: &mut Violations,
) -> Option<Cow<'a, str>> {
    let rule = match value {
        Given::Text(text) => return Some(text),
        Given::Null => MISSING,
        Given::Whole(_) | Given::Fraction | Given::Other => WRONG_TYPE,
    };
    violations.push(violation(pointer, rule));
    None
}

/// A field's value, as far as a rule asks for it.
#[derive(Default)]
enum Given<'a> {
    /// `null`, or no such field.
    #[default]
    Null,
    Text(Cow<'a, str>),
    /// A whole number; the greatest `i64` stands for what is greater still.
    Whole(i64),
    /// A number with a fraction or an exponent.
    Fraction,
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Given<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Given<'de>, E> {
        Ok(Given::Null)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Given<'de>, E> {
        Ok(Given::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Given<'de>, E> {
        Ok(Given::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Given<'de>, E> {
        Ok(Given::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Given<'de>, E> {
        Ok(Given::Whole(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Given<'de>, E> {
        Ok(Given::Fraction)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Given<'de>, E> {
        Ok(Given::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Given<'de>, A::Error> {
        IgnoredAny.visit_seq(array).map(|_| Given::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Given<'de>, A::Error> {
        IgnoredAny.visit_map(object).map(|_| Given::Other)
    }
}

/// An event's object, each field at its first mention.
#[derive(Default)]
struct Fields<'a> {
    order_id: Option<Given<'a>>,
    status: Option<Given<'a>>,
    created_at: Option<Given<'a>>,
    version: Option<Given<'a>>,
    repeated: Violations,
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        let mut unknown = HashSet::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let (field, pointer) = match &*key.0 {
                "order_id" => (Some(&mut fields.order_id), "/order_id"),
                "status" => (Some(&mut fields.status), "/status"),
                "created_at" => (Some(&mut fields.created_at), "/created_at"),
                "version" => (Some(&mut fields.version), "/version"),
                _ => (None, ""),
            };
            let first = match &field {
                Some(field) => field.is_none(),
                None => unknown.insert(key.0),
            };
            match field {
                Some(field) if first => *field = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            let repeated = violation(pointer, DUPLICATE_KEY);
            // Of keys that nobody knows one is enough; so the list stays short.
            if !first && !fields.repeated.contains(&repeated) {
                fields.repeated.push(repeated);
            }
        }
        Ok(fields)
    }
}

/// A key, borrowed unless it holds escapes: serde's own `Cow` always copies.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

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
    fn document_lists_every_rule_with_its_sentence_and_no_other() {
        const DOCUMENT: &str = include_str!("../../../docs/validation.md");
        let section = DOCUMENT.split("\n## ").find(|section| section.starts_with("Status events"));
        let table = section.unwrap().split("| code | rule |").nth(1).unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let rows = rows.map(|row| row.trim_matches(['|', ' ']).split_once(" | ").unwrap());
        let rules = EVENT_RULES.iter().map(|(code, rule)| (format!("`{code}`"), *rule));
        assert_eq!(
            rows.map(|(code, rule)| (code.to_owned(), rule)).collect::<Vec<_>>(),
            rules.collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_seeds_example_is_read_as_it_is_printed() {
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
    fn what_the_order_service_sends_is_read() {
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
                Some(datetime!(2021-11-26 06:22:19.123456789 UTC)),
                sent.version
            )
        );
    }

    #[test]
    fn a_word_nobody_knows_is_kept_as_it_was_written() {
        let read =
            StatusEvent::read(Some(br#"{"order_id":"1","status":" lost ","x":[1]}"#)).unwrap();
        assert_eq!((read.status.as_str(), read.word), ("lost", StatusWord::Unknown));
    }

    #[test]
    fn what_is_no_event_at_all_says_so() {
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
    fn everything_that_is_wrong_is_named_at_once() {
        assert_eq!(violations("{}"), [("/order_id", "missing"), ("/status", "missing")]);
        assert_eq!(
            violations(r#"{"order_id":7,"status":" ","created_at":"yesterday","version":0}"#),
            [
                ("/order_id", "wrong_type"),
                ("/status", "blank"),
                ("/created_at", "invalid_date"),
                ("/version", "out_of_range")
            ]
        );
        assert_eq!(
            violations(
                r#"{"x":1,"x":2,"x":3,"order_id":"a\u0000","order_id":"b","status":null,"created_at":1,"version":1.5}"#
            ),
            [
                ("", "duplicate_key"),
                ("/order_id", "duplicate_key"),
                ("/order_id", "control_character"),
                ("/status", "missing"),
                ("/created_at", "wrong_type"),
                ("/version", "not_an_integer")
            ]
        );
        let long =
            format!(r#"{{"order_id":"{0}","status":"{0}{0}{0}","version":"1"}}"#, "x".repeat(101));
        assert_eq!(
            violations(&long),
            [("/order_id", "too_long"), ("/status", "too_long"), ("/version", "wrong_type")]
        );
        assert_eq!(
            violations(r#"{"order_id":"1","status":"a\u0007b"}"#),
            [("/status", "control_character")]
        );
        assert_eq!(
            violations(r#"{"order_id":"1","status":"a","version":2147483648}"#),
            [("/version", "out_of_range")]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much_for_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(violations) = StatusEvent::read(Some(&bytes)) {
                prop_assert!(!violations.is_empty());
            }
        }

        #[test]
        fn every_id_and_word_survives_the_wire(
            id in "[^\\p{Cc}]{1,25}", status in "[^\\p{Cc}]{1,60}", version in 1..=i32::MAX,
        ) {
            prop_assume!(!id.trim().is_empty() && !status.trim().is_empty());
            let text = serde_json::json!({ "order_id": id, "status": status, "version": version });
            let read = StatusEvent::read(Some(text.to_string().as_bytes())).unwrap();
            prop_assert_eq!(read.order_id.as_str(), id);
            prop_assert_eq!(read.status.as_str(), status.trim());
            prop_assert_eq!(read.version, Some(version));
        }
    }
}
