//! Rejected records. A record that breaks a rule of a service is stored as it was received, with
//! all rules that it breaks. It is also sent to the dead-letter topic, is shown, and may be
//! replayed.
//!
//! ```text
//! original + rejection ─▶ table ─▶ calls ─▶ replay ─▶ the topic again
//!                    └──▶ dead letter
//! ```
//!
//! The rules are not here but in the services. The table `rejected_records` is in the schema of the
//! service: its pool sets the search path.

pub mod calls;
pub mod dead_letter;
mod table;

use std::{fmt, str::FromStr};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

pub use self::table::{MAX_COUNTED, RejectedRow, Replay, count, insert, list, note_replays};
pub use crate::http::problem::Violation;
use crate::{
    kafka::record::{Position, Record},
    process::trace::{self, Trace},
};

/// The header of a replay that contains the id of the rejected record.
pub const REPLAY_OF: &str = "waybill.replay.of";
/// The header of a replay that contains the timestamp of the rejected record, in milliseconds since
/// 1970. The id alone is not enough: a topic that was deleted and created again has other records
/// at the same offsets.
pub const REPLAY_OF_TIMESTAMP: &str = "waybill.replay.of.timestamp";
/// The header of a replay whose body was edited.
pub const REPLAY_EDITED: &str = "waybill.replay.edited";

/// The reason why a record is rejected: a value that stays with its batch, never an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The code of the first violation. Operators filter by it.
    pub reason: &'static str,
    /// All violations, at least one.
    pub violations: Vec<Violation>,
}

/// The parts of a record that are needed if it is rejected, and its trace.
#[derive(Debug)]
pub struct Original {
    pub position: Position,
    /// Key and value in one allocation, because they are rarely needed: only if the record is
    /// rejected.
    bytes: Box<[u8]>,
    key_bytes: Option<usize>,
    value_bytes: Option<usize>,
    /// The rejected record that this one replays.
    pub replay: Option<ReplayOf>,
    /// The step of a trace that the record names.
    pub trace: Option<Trace>,
}

/// The headers of a replay.
#[derive(Debug)]
pub struct ReplayOf {
    pub id: RejectedId,
    /// The timestamp of the rejected record; `None` means the newest record with this id.
    pub timestamp_ms: Option<i64>,
    pub edited: bool,
}

impl Original {
    #[must_use]
    pub fn of(record: &Record<'_>) -> Self {
        let headers = record.headers();
        let replay = headers.get(REPLAY_OF).and_then(|id| id.parse().ok()).map(|id| ReplayOf {
            id,
            timestamp_ms: headers.get(REPLAY_OF_TIMESTAMP).and_then(|text| text.parse().ok()),
            edited: headers.get(REPLAY_EDITED).is_some(),
        });
        Self {
            position: record.position,
            bytes: [record.key.unwrap_or_default(), record.value.unwrap_or_default()]
                .concat()
                .into_boxed_slice(),
            key_bytes: record.key.map(<[u8]>::len),
            value_bytes: record.value.map(<[u8]>::len),
            replay,
            trace: headers.get(trace::HEADER).and_then(Trace::read),
        }
    }

    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key_bytes.map(|length| &self.bytes[..length])
    }

    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.value_bytes.map(|length| &self.bytes[self.bytes.len() - length..])
    }

    /// Returns the length of key and value in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// The id of a rejected record: `topic:partition:offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedId {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl FromStr for RejectedId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "an id of a rejected record looks like orders:3:18204";
        let mut parts = text.rsplitn(3, ':');
        let offset = parts.next().and_then(|part| part.parse().ok()).ok_or(wrong)?;
        let partition = parts.next().and_then(|part| part.parse().ok()).ok_or(wrong)?;
        let topic = parts.next().filter(|topic| !topic.is_empty()).ok_or(wrong)?.to_owned();
        Ok(Self { topic, partition, offset })
    }
}

impl fmt::Display for RejectedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

crate::metrics! {
    pub struct RejectionMetrics {
        /// Rejected records by reason, redelivered records included
        rejections: Family<ReasonLabel, Counter> = "waybill_records_rejected",
    }
}

impl RejectionMetrics {
    pub fn count(&self, rejection: &Rejection) {
        self.rejections.get_or_create(&ReasonLabel { reason: rejection.reason }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_from_its_end_as_topics_may_have_colons() {
        let id: RejectedId = "a:b:3:18204".parse().unwrap();
        assert_eq!((id.topic.as_str(), id.partition, id.offset), ("a:b", 3, 18_204));
        assert_eq!(id.to_string(), "a:b:3:18204");
        for wrong in ["", "orders", "orders:1", ":1:2", "orders:x:1", "orders:1:"] {
            assert!(wrong.parse::<RejectedId>().is_err(), "{wrong}");
        }
    }
}
