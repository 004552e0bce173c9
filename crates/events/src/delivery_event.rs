//! An event on the deliveries topic: a change of the delivery of one order. The courier service
//! publishes it, the order service and other systems read it.
//!
//! The key of the record is the order id. The headers are those of an
//! [`OrderEvent`](crate::OrderEvent): `ce_type` is the status, `ce_time` is the time `at`, and
//! `ce_id` is [`DeliveryEvent::id`]. An event may be sent more than once, and a consumer that keeps
//! one state per order keeps that of the greatest (`at`, `number`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{OffsetDateTime, serde::rfc3339};

use crate::{CourierId, OrderUid, Transport, parse_instant};

/// A change of a delivery, as its event names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// The order has its courier.
    Assigned,
    /// The order was moved to another courier.
    Reassigned,
    /// The order was taken from its courier manually, and is held until it is assigned manually.
    Unassigned,
    /// The deadline has passed; the courier still has the order.
    Overdue,
    /// The courier was freed, because the order was not completed in time.
    Released,
    /// The order waits for a courier again after its release.
    Requeued,
    /// The order is delivered.
    Completed,
    /// The order is not delivered.
    Cancelled,
}

impl DeliveryStatus {
    pub const ALL: [Self; 8] = [
        Self::Assigned,
        Self::Reassigned,
        Self::Unassigned,
        Self::Overdue,
        Self::Released,
        Self::Requeued,
        Self::Completed,
        Self::Cancelled,
    ];

    /// Returns the word in JSON and in the databases.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Reassigned => "reassigned",
            Self::Unassigned => "unassigned",
            Self::Overdue => "overdue",
            Self::Released => "released",
            Self::Requeued => "requeued",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the status that a word of [`as_str`](Self::as_str) names.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }
}

/// The cause of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryCause {
    /// An event of the status topic.
    Event,
    /// The match of waiting orders with available couriers.
    Match,
    /// The sweep for deliveries past their deadline.
    Sweep,
    /// A manual action.
    Manual,
}

impl DeliveryCause {
    pub const ALL: [Self; 4] = [Self::Event, Self::Match, Self::Sweep, Self::Manual];

    /// Returns the word in JSON and in the databases.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Match => "match",
            Self::Sweep => "sweep",
            Self::Manual => "manual",
        }
    }

    /// Returns the cause that a word of [`as_str`](Self::as_str) names.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }
}

/// The value of a record on the deliveries topic. It contains no name and no phone number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeliveryEvent {
    /// The order of the delivery; also the key of the record.
    pub order_id: OrderUid,
    /// The courier to whom the order is or was assigned last; `None` if it never had one.
    pub courier_id: Option<CourierId>,
    pub status: DeliveryStatus,
    /// The time of the change, in whole microseconds.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// The number of the change, from 1. For one order it rises from change to change.
    pub number: i64,
    /// The courier's means of transport at the time of the assignment; `None` without a courier.
    pub transport_type: Option<Transport>,
    /// The deadline of the last assignment; `None` without a courier.
    #[serde(with = "rfc3339::option")]
    pub deadline: Option<OffsetDateTime>,
    /// The courier service always writes a cause; `None` if a reader does not know it.
    pub cause: Option<DeliveryCause>,
}

impl DeliveryEvent {
    /// Returns the id of the event, `order_id:number:status`, which is sent as the header `ce_id`. A
    /// repeated event has the same id.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}:{}", self.order_id, self.number, self.status.as_str())
    }

    /// Reads the value of a record. It is read tolerantly: only an event without a readable order
    /// id, status, time or number is an error; another field that cannot be read counts as absent,
    /// and unknown fields are ignored. The error is a code: `null_record`, `not_an_object`, or the
    /// name of the first required field that cannot be read.
    pub fn read(value: Option<&[u8]>) -> Result<Self, &'static str> {
        let value = value.ok_or("null_record")?;
        let fields: Map<String, Value> =
            serde_json::from_slice(value).map_err(|_| "not_an_object")?;
        let text = |field: &str| fields.get(field).and_then(Value::as_str);
        let whole = |field: &str| fields.get(field).and_then(Value::as_i64);
        let order_id = text("order_id").and_then(|id| id.parse().ok()).ok_or("order_id")?;
        let status = text("status").and_then(DeliveryStatus::of_word).ok_or("status")?;
        let at = text("at").and_then(parse_instant).ok_or("at")?;
        let number = whole("number").filter(|number| *number > 0).ok_or("number")?;
        Ok(Self {
            order_id,
            courier_id: whole("courier_id").and_then(|id| id.try_into().ok()),
            status,
            at,
            number,
            transport_type: text("transport_type").and_then(|word| word.parse().ok()),
            deadline: text("deadline").and_then(parse_instant),
            cause: text("cause").and_then(DeliveryCause::of_word),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    fn assigned() -> DeliveryEvent {
        DeliveryEvent {
            order_id: "b563feb7b2b84b6test".parse().unwrap(),
            courier_id: Some(7.try_into().unwrap()),
            status: DeliveryStatus::Assigned,
            at: datetime!(2021-11-26 06:22:19.123456 UTC),
            number: 41,
            transport_type: Some(Transport::Scooter),
            deadline: Some(datetime!(2021-11-26 06:37:19.123456 UTC)),
            cause: Some(DeliveryCause::Match),
        }
    }

    fn without_courier() -> DeliveryEvent {
        DeliveryEvent {
            courier_id: None,
            status: DeliveryStatus::Cancelled,
            transport_type: None,
            deadline: None,
            cause: Some(DeliveryCause::Event),
            ..assigned()
        }
    }

    #[test]
    fn wire_form_is_the_contract() {
        assert_eq!(
            serde_json::to_string(&assigned()).unwrap(),
            r#"{"order_id":"b563feb7b2b84b6test","courier_id":7,"status":"assigned","at":"2021-11-26T06:22:19.123456Z","number":41,"transport_type":"scooter","deadline":"2021-11-26T06:37:19.123456Z","cause":"match"}"#
        );
        assert_eq!(assigned().id(), "b563feb7b2b84b6test:41:assigned");
        assert_eq!(
            serde_json::to_string(&without_courier()).unwrap(),
            r#"{"order_id":"b563feb7b2b84b6test","courier_id":null,"status":"cancelled","at":"2021-11-26T06:22:19.123456Z","number":41,"transport_type":null,"deadline":null,"cause":"event"}"#
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for event in [assigned(), without_courier()] {
            let value = serde_json::to_vec(&event).unwrap();
            assert_eq!(DeliveryEvent::read(Some(&value)), Ok(event));
        }
        for status in DeliveryStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
            assert_eq!(DeliveryStatus::of_word(status.as_str()), Some(status));
        }
        for cause in DeliveryCause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
            assert_eq!(DeliveryCause::of_word(cause.as_str()), Some(cause));
        }
    }

    #[test]
    fn a_record_that_is_not_an_event_has_a_code() {
        let read = |text: &str| DeliveryEvent::read(Some(text.as_bytes())).unwrap_err();
        assert_eq!(DeliveryEvent::read(None), Err("null_record"));
        for text in ["", "{", "[]", "null", "7", "{}{}"] {
            assert_eq!(read(text), "not_an_object", "{text}");
        }
        for (text, code) in [
            ("{}", "order_id"),
            (r#"{"order_id":7}"#, "order_id"),
            (r#"{"order_id":".."}"#, "order_id"),
            (r#"{"order_id":"1"}"#, "status"),
            (r#"{"order_id":"1","status":"lost"}"#, "status"),
            (r#"{"order_id":"1","status":"assigned","at":1754481600}"#, "at"),
            (r#"{"order_id":"1","status":"assigned","at":"2025-08-06T12:00:00Z"}"#, "number"),
            (
                r#"{"order_id":"1","status":"assigned","at":"2025-08-06T12:00:00Z","number":0}"#,
                "number",
            ),
            (
                r#"{"order_id":"1","status":"assigned","at":"2025-08-06T12:00:00Z","number":1.5}"#,
                "number",
            ),
        ] {
            assert_eq!(read(text), code, "{text}");
        }
    }

    #[test]
    fn an_optional_field_that_cannot_be_read_counts_as_absent() {
        let text = r#"{"order_id":"1","status":"overdue","at":"2025-08-06T14:00:00.1234567+02:00",
            "number":9223372036854775807,"courier_id":-1,"transport_type":"plane","deadline":"soon",
            "cause":["x"],"later":{}}"#;
        assert_eq!(
            DeliveryEvent::read(Some(text.as_bytes())),
            Ok(DeliveryEvent {
                order_id: "1".parse().unwrap(),
                courier_id: None,
                status: DeliveryStatus::Overdue,
                at: datetime!(2025-08-06 12:00:00.123456 UTC),
                number: i64::MAX,
                transport_type: None,
                deadline: None,
                cause: None,
            })
        );
    }

    #[test]
    fn the_document_lists_every_word() {
        const DOCUMENT: &str = include_str!("../../../docs/validation.md");
        let mut sections = DOCUMENT.split("\n## ");
        let section = sections.find(|section| section.starts_with("Delivery events")).unwrap();
        let statuses = DeliveryStatus::ALL.map(DeliveryStatus::as_str);
        let causes = DeliveryCause::ALL.map(DeliveryCause::as_str);
        let transports = Transport::ALL.map(Transport::as_str);
        for word in statuses.iter().chain(&causes).chain(&transports) {
            assert!(section.contains(&format!("`{word}`")), "{word}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = DeliveryEvent::read(Some(&bytes));
        }
    }
}
