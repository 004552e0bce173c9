//! The events that the order service publishes on the status topic. Events are read as a
//! [`StatusEvent`](crate::StatusEvent), because others publish on this topic, too.

use compact_str::{CompactString, ToCompactString as _};
use serde::{Deserialize, Serialize};

use crate::OrderUid;

/// The type of an event that the order service publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// The order is stored.
    Created,
    /// Later content has replaced the order.
    Updated,
    /// A client of the order service has completed the order.
    Completed,
    /// A client of the order service has cancelled the order.
    Cancelled,
}

impl EventType {
    /// Returns the word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The value of a record on the status topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEvent {
    /// The order that changed; also the key of the record.
    pub order_id: OrderUid,
    pub status: EventType,
    /// The time of the event, as RFC 3339 in UTC.
    pub created_at: CompactString,
    /// The version of the order, from 1; `None` for an order that is not stored, but known from the
    /// events of other senders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
}

impl OrderEvent {
    /// Returns the id of the event, `uid:version:type`, which is sent as the header `ce_id`. A
    /// repeated event has the same id. An order that is not stored has version 0.
    #[must_use]
    pub fn id(&self) -> String {
        let version = self.version.unwrap_or(0).to_compact_string();
        [self.order_id.as_str(), &version, self.status.as_str()].join(":")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form_is_the_contract() {
        let event = OrderEvent {
            order_id: "b563feb7b2b84b6test".parse().unwrap(),
            status: EventType::Created,
            created_at: "2021-11-26T06:22:19Z".into(),
            version: Some(1),
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"order_id":"b563feb7b2b84b6test","status":"created","created_at":"2021-11-26T06:22:19Z","version":1}"#
        );
        assert_eq!(event.id(), "b563feb7b2b84b6test:1:created");
    }

    #[test]
    fn an_order_that_is_not_stored_has_no_version() {
        let event = OrderEvent {
            order_id: "123".parse().unwrap(),
            status: EventType::Cancelled,
            created_at: "2021-11-26T06:22:19Z".into(),
            version: None,
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"order_id":"123","status":"cancelled","created_at":"2021-11-26T06:22:19Z"}"#
        );
        assert_eq!(event.id(), "123:0:cancelled");
    }
}
