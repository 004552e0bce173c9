//! Rejected records. A record that breaks a rule of a service is stored as it was received, with
//! all rules that it breaks. It is also sent to the dead-letter topic, is shown, and may be
//! replayed.
//!
//! ```text
//! original + rejection ─▶ table ─▶ calls ─▶ replay, replays ─▶ the topic again
//!                    └──▶ dead letter └─▶ settlement ─▶ table
//! ```
//!
//! A record is *left* until it is settled: by a replay of it, when the service reads the replay from
//! the topic, or by an operator with a note. A replay that is rejected is a new record, which is left
//! instead of the first one.
//!
//! The rules are not here but in the services. The table `rejected_records` is in the schema of the
//! service: its pool sets the search path.

pub mod calls;
mod cut;
pub mod dead_letter;
pub(crate) mod fields;
mod filter;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub mod handlers;
pub mod json_text;
mod matching;
pub mod place;
pub mod replays;
pub mod settlement;
mod table;

use std::{fmt, str::FromStr};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use self::cut::{OwnHeaders, cut};
pub use self::{
    cut::Whole,
    filter::{Filter, RejectedQuery, State, rfc3339},
    matching::{Counted, Matching},
    settlement::Settlement,
    table::{
        Header, MAX_COUNTED, Outcome, RejectedRecord, RejectedRow, Replay, Stored, count, insert,
        note_replays,
    },
};
use crate::http::actor::Actor;
pub use crate::http::problem::Violation;
use crate::process::number::decimal;
use crate::{
    kafka::record::{Headers, MAX_TIMESTAMP_MS, Position, Record},
    process::trace::{self, Trace},
};

/// The longest name of a topic that Kafka allows.
const MAX_TOPIC_BYTES: usize = 249;
/// More digits than a partition or an offset of Kafka has in practice. The OpenAPI documents have a
/// pattern with these numbers.
const MAX_PARTITION_DIGITS: usize = 9;
const MAX_OFFSET_DIGITS: usize = 18;

/// The header of a replay that contains the id of the rejected record.
pub const REPLAY_OF: &str = "waybill.replay.of";
/// The header of a replay that contains the timestamp of the rejected record, in milliseconds since
/// 1970. The id alone is not enough: a topic that was deleted and created again has other records
/// at the same offsets.
pub const REPLAY_OF_TIMESTAMP: &str = "waybill.replay.of.timestamp";
/// The header of a replay whose body was edited.
pub const REPLAY_EDITED: &str = "waybill.replay.edited";
/// The header of a replay that contains the `X-Actor` of its call.
pub const REPLAY_BY: &str = "waybill.replay.by";

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
    key: Option<Kept>,
    value: Option<Kept>,
    headers: OwnHeaders,
    /// The rejected record that this one replays.
    pub replay: Option<ReplayOf>,
    /// The step of a trace that the record names.
    pub trace: Option<Trace>,
}

/// The part of a key or a value that is kept.
#[derive(Debug)]
struct Kept {
    length: usize,
    /// The length and the hash of all of it, if it is cut.
    whole: Option<Box<Whole>>,
}

/// The headers of a replay.
#[derive(Debug)]
pub struct ReplayOf {
    pub id: RejectedId,
    /// The timestamp of the rejected record; `None` means the newest record with this id.
    pub timestamp_ms: Option<i64>,
    pub edited: bool,
    /// The client of the call, as it named itself; `None` if it gave no name, or none that is valid.
    pub by: Option<Actor>,
}

impl Original {
    /// Copies a record. A key or a value above 1 MiB is cut, and headers above 1 MiB are left out:
    /// this is the only place where a record is copied, so the memory of a batch is bounded.
    ///
    /// Headers of a replay that cannot be read are dropped and counted: anyone can send them, and
    /// the record does not depend on them.
    #[must_use]
    pub fn of(record: &Record<'_>, metrics: &RejectionMetrics) -> Self {
        Self::of_parts(record.position, (record.key, record.value), record.headers(), metrics)
    }

    fn of_parts(
        position: Position,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: Headers<'_>,
        metrics: &RejectionMetrics,
    ) -> Self {
        let replay = ReplayOf::read(headers).unwrap_or_else(|_| {
            metrics.dropped_notes.inc();
            None
        });
        let (key, value) = (key.map(cut), value.map(cut));
        let bytes = |part: &Option<(&'_ [u8], _)>| part.as_ref().map_or(0, |(kept, _)| kept.len());
        let mut all = Vec::with_capacity(bytes(&key) + bytes(&value));
        let mut keep = |(kept, whole): (&[u8], Option<Box<Whole>>)| {
            all.extend_from_slice(kept);
            Kept { length: kept.len(), whole }
        };
        Self {
            position,
            key: key.map(&mut keep),
            value: value.map(&mut keep),
            bytes: all.into_boxed_slice(),
            headers: OwnHeaders::of(headers),
            replay,
            trace: headers.get(trace::HEADER).and_then(Trace::read),
        }
    }

    /// Returns the part of the key that is kept.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|key| &self.bytes[..key.length])
    }

    /// Returns the part of the value that is kept.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().map(|value| &self.bytes[self.bytes.len() - value.length..])
    }

    /// Returns the length and the hash of the key, if it is cut.
    fn whole_key(&self) -> Option<&Whole> {
        self.key.as_ref()?.whole.as_deref()
    }

    /// Returns the length and the hash of the value, if it is cut.
    fn whole_value(&self) -> Option<&Whole> {
        self.value.as_ref()?.whole.as_deref()
    }

    /// Returns the record's own headers; none if they are left out.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.headers.kept.iter().map(|(name, value)| (&**name, value.as_deref()))
    }

    /// Returns the size of what is kept, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + self.headers.size
    }
}

impl ReplayOf {
    /// Reads the headers of a replay; `None` if the record is not one.
    fn read(headers: Headers<'_>) -> Result<Option<Self>, &'static str> {
        let Some(id) = headers.get(REPLAY_OF) else { return Ok(None) };
        let timestamp = |text: &str| {
            let timestamp_ms = text.parse().ok().filter(|it| (0..=MAX_TIMESTAMP_MS).contains(it));
            timestamp_ms.ok_or("a timestamp is the milliseconds from 1970 to the year 9999")
        };
        let timestamp_ms = headers.get(REPLAY_OF_TIMESTAMP).map(timestamp).transpose()?;
        let edited = headers.get(REPLAY_EDITED).is_some();
        let by = headers.get(REPLAY_BY).and_then(|name| name.parse().ok());
        Ok(Some(Self { id: id.parse()?, timestamp_ms, edited, by }))
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
        let [topic, partition, offset] = *text.split(':').collect::<Vec<_>>() else {
            return Err(wrong);
        };
        let partition = decimal(partition, MAX_PARTITION_DIGITS).ok_or(wrong)?;
        let offset = decimal(offset, MAX_OFFSET_DIGITS).ok_or(wrong)?;
        if !is_topic_name(topic) {
            return Err(wrong);
        }
        Ok(Self { topic: topic.to_owned(), partition, offset })
    }
}

/// Returns true if Kafka allows this name for a topic.
fn is_topic_name(name: &str) -> bool {
    (1..=MAX_TOPIC_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
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
        /// Replays whose header `waybill.replay.of` could not be read or stored; the record itself is processed
        dropped_notes: Counter = "waybill_replay_notes_dropped",
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
    fn only_an_id_that_kafka_can_give_is_read() {
        let id: RejectedId = "my-orders_v1.0:3:18204".parse().unwrap();
        assert_eq!((id.topic.as_str(), id.partition, id.offset), ("my-orders_v1.0", 3, 18_204));
        assert_eq!(id.to_string(), "my-orders_v1.0:3:18204");
        let long = format!("{}:1:2", "x".repeat(250));
        for wrong in [
            "",
            "orders",
            "orders:1",
            ":1:2",
            "orders:x:1",
            "orders:1:",
            "a:b:1:2",
            "\0:1:2",
            "orders:-1:2",
            "orders:1:-2",
            "orders:+1:2",
            "orders:1:1000000000000000000",
            "orders:2147483648:1",
            "заказы:1:2",
            long.as_str(),
        ] {
            assert!(wrong.parse::<RejectedId>().is_err(), "{wrong}");
        }
    }
}
