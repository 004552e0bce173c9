//! A record as Kafka delivers it: its position, key, value and headers. It is borrowed from the
//! client; nothing is decoded here.

use rdkafka::{
    Message as _,
    message::{BorrowedHeaders, BorrowedMessage, Headers as _},
};
use time::OffsetDateTime;

/// The position and the timestamp of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since 1970.
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
        let position = Position {
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
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

    /// Returns one header, as [`Headers::get`] does.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers().get(name)
    }
}

#[derive(Clone, Copy)]
pub struct Headers<'a>(Option<&'a BorrowedHeaders>);

impl<'a> Headers<'a> {
    /// Returns the last header of this name, if its value is UTF-8.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        let header = self.0?.iter().filter(|header| header.key == name).last()?;
        std::str::from_utf8(header.value?).ok()
    }
}

/// Converts milliseconds since 1970, as Kafka counts time.
#[must_use]
pub fn instant(milliseconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Converts to milliseconds since 1970, as Kafka counts time.
#[must_use]
pub fn milliseconds(instant: OffsetDateTime) -> i64 {
    i64::try_from(instant.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}
