//! A record as Kafka delivers it: its position, key, value and headers.

use rdkafka::{
    Message as _,
    message::{BorrowedHeaders, BorrowedMessage, Headers as _},
};
use time::OffsetDateTime;

/// Where a record stands, and when Kafka took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// A record as it came.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Where it stands.
    pub position: Position,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a null value.
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

    /// Its headers. Only now does the client take them apart.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers(self.message.headers())
    }

    /// As [`Headers::get`], for whoever asks for one only.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers().get(name)
    }
}

/// The headers of a record.
#[derive(Clone, Copy)]
pub struct Headers<'a>(Option<&'a BorrowedHeaders>);

impl<'a> Headers<'a> {
    /// The last header of this name, if it is text.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        let header = self.0?.iter().filter(|header| header.key == name).last()?;
        std::str::from_utf8(header.value?).ok()
    }
}

/// Kafka's milliseconds as an instant.
#[must_use]
pub fn instant(milliseconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// An instant as Kafka's milliseconds.
#[must_use]
pub fn milliseconds(instant: OffsetDateTime) -> i64 {
    i64::try_from(instant.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}
