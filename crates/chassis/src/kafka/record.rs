//! A record as Kafka delivers it: its position, key, value and headers. It is borrowed from the
//! client; nothing is decoded here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::{
    Message as _, Timestamp,
    message::{BorrowedHeaders, BorrowedMessage, Headers as _},
};
use time::OffsetDateTime;

/// The greatest timestamp of a record, 9999-12-31T23:59:59.999Z, in milliseconds since 1970. The
/// least is 0. PostgreSQL, `time` and RFC 3339 can all hold this range.
pub const MAX_TIMESTAMP_MS: i64 = 253_402_300_799_999;

/// The position and the timestamp of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since 1970, from 0 to [`MAX_TIMESTAMP_MS`].
    pub timestamp_ms: i64,
    pub partition: i32,
    pub offset: i64,
}

/// A record of a topic, borrowed from the Kafka client.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub position: Position,
    pub key: Option<&'a [u8]>,
    /// `None` is a null value.
    pub value: Option<&'a [u8]>,
    message: &'a BorrowedMessage<'a>,
}

impl<'a> Record<'a> {
    pub(crate) fn of(message: &'a BorrowedMessage<'_>) -> Self {
        // Producers may send any 64 bits. The timestamp is clamped here, before it is compared or
        // stored, so that every replica compares the same value that the database holds.
        let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
        let position = Position {
            timestamp_ms: timestamp_ms.clamp(0, MAX_TIMESTAMP_MS),
            partition: message.partition(),
            offset: message.offset(),
        };
        Self { position, key: message.key(), value: message.payload(), message }
    }

    /// Returns the headers. The client parses them in this call, so a caller that needs several
    /// headers should call it once.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers(self.message.headers())
    }

    /// Returns true if the broker did not set the timestamp: the topic has `CreateTime`.
    #[must_use]
    pub fn is_stamped_by_producer(&self) -> bool {
        !matches!(self.message.timestamp(), Timestamp::LogAppendTime(_))
    }

    /// Returns one header, as [`Headers::get`] does.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers().get(name)
    }
}

#[derive(Clone, Copy)]
pub struct Headers<'a>(Option<&'a BorrowedHeaders>);

impl<'a> Headers<'a> {
    /// Returns headers that are not of a record, for the fuzz targets.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn of(headers: &'a BorrowedHeaders) -> Self {
        Self(Some(headers))
    }

    /// Returns the last header of this name, if its value is UTF-8.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        let (_, value) = self.iter().filter(|(known, _)| *known == name).last()?;
        std::str::from_utf8(value?).ok()
    }

    /// Returns names and values, without the headers whose name is not UTF-8.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        let headers = self.0;
        let indices = 0..headers.map_or(0, |headers| headers.count());
        indices.filter_map(move |index| {
            let headers = headers?;
            // The client panics if a name is not UTF-8, and producers may send any bytes.
            let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok()??;
            Some((header.key, header.value))
        })
    }
}

/// Converts milliseconds since 1970, as Kafka counts time. Values outside the range of a record's
/// timestamp are clamped.
#[must_use]
pub fn instant(milliseconds: i64) -> OffsetDateTime {
    let nanoseconds = i128::from(milliseconds.clamp(0, MAX_TIMESTAMP_MS)) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).expect("the year is 1970 to 9999")
}

/// Converts to milliseconds since 1970, as Kafka counts time.
#[must_use]
pub fn milliseconds(instant: OffsetDateTime) -> i64 {
    i64::try_from(instant.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn every_timestamp_of_a_record_can_be_stored() {
        assert_eq!(instant(0), OffsetDateTime::UNIX_EPOCH);
        assert_eq!(instant(MAX_TIMESTAMP_MS), datetime!(9999-12-31 23:59:59.999 UTC));
        assert_eq!(milliseconds(instant(MAX_TIMESTAMP_MS)), MAX_TIMESTAMP_MS);
        assert_eq!((instant(i64::MIN), instant(i64::MAX)), (instant(0), instant(MAX_TIMESTAMP_MS)));
    }
}
