use compact_str::{CompactString, ToCompactString as _};
use serde::{Deserialize, Serialize};

use crate::OrderUid;

/// What the order service tells of an order on the status topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// The order is stored.
    Created,
    /// The order was replaced by later content.
    Updated,
    /// Somebody says here that the order has arrived.
    Completed,
    /// Somebody cancels the order here.
    Cancelled,
}

impl EventType {
    /// The word on the wire.
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
    /// The order it is about; also the record's key.
    pub order_id: OrderUid,
    /// What happened.
    pub status: EventType,
    /// When, as RFC 3339 in UTC.
    pub created_at: CompactString,
    /// The order's version that it tells of, from 1; none for an order that is known only by what
    /// others tell of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
}

impl OrderEvent {
    /// The event's identity, the same whenever it is repeated: `uid:version:type`, sent as the
    /// header `ce_id`. Version 0 is that of an order that is not stored.
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
