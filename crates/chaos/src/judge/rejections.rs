//! The rejected records of a service and their dead letters: each record that must be rejected is
//! once in the table, as it was sent, and at least once on the dead-letter topic.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::TryStreamExt as _;
use rdkafka::{Message as _, message::BorrowedMessage};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, PgConnection, Row as _, postgres::PgRow};
use time::OffsetDateTime;

use super::{
    Case, Position,
    index::{Entry, Origin, Place, RecordIndex},
    kafka,
};
use crate::{
    finding::{
        CheckResult,
        FindingKind::{
            Altered, Duplicated, EventWithoutFact, Foreign, Misplaced, Missing, MissingDeadLetter,
            WrongReason,
        },
    },
    traffic::{Expected, SentRecord, Stream},
};

/// Of a longer key or value, only the first bytes are stored.
const STORED_WHOLE: usize = 1_048_576;
const STORED_OF_LONGER: usize = 65_536;

/// The service that rejects the records of a stream.
pub(super) struct Service {
    pub(super) case: Case,
    pub(super) stream: Stream,
    pub(super) schema: &'static str,
}

impl Service {
    fn topic(&self) -> &str {
        match self.stream {
            Stream::Orders => &self.case.orders_topic,
            Stream::Status => &self.case.status_topic,
        }
    }

    /// Returns the record of an entry and the reason of its rejection; `None` if it must not be
    /// rejected.
    fn rejected(&self, entry: &Entry) -> Option<(SentRecord, &'static str)> {
        let Origin::Sent(number) = entry.origin else { return None };
        let sent = self.case.traffic.record(self.stream, number);
        match sent.expected {
            Expected::Rejected { reason } => Some((sent, reason)),
            Expected::Order(_) | Expected::Event { .. } => None,
        }
    }

    /// Checks the table. Positions of missing records are added to `missing`.
    pub(super) async fn check_table(
        &self,
        database: &mut PgConnection,
        index: &mut RecordIndex,
        missing: &mut Vec<Position>,
    ) -> anyhow::Result<CheckResult> {
        let name = format!("{}.rejected_records: each invalid record once", self.schema);
        let mut check = CheckResult::new(1, &name);
        let statement =
            format!("-- judge_rejected\nSELECT * FROM {}.rejected_records", self.schema);
        let mut rows = sqlx::query(AssertSqlSafe(statement)).fetch(database);
        while let Some(row) = rows.try_next().await? {
            check.checked += 1;
            self.check_row(&row, index, &mut check)?;
        }
        for (position, entry) in index.entries() {
            if entry.is_rejected && !entry.is_seen(Place::Rejections) {
                missing.push(position);
                check.find(Missing, || format!("{}:{position}", self.topic()));
            }
        }
        Ok(check)
    }

    fn check_row(
        &self,
        row: &PgRow,
        index: &mut RecordIndex,
        check: &mut CheckResult,
    ) -> Result<(), sqlx::Error> {
        let topic: String = row.try_get("topic")?;
        let time: OffsetDateTime = row.try_get("record_timestamp")?;
        let reason: String = row.try_get("reason")?;
        let position = Position {
            timestamp_ms: Position::milliseconds(time),
            partition: row.try_get("partition")?,
            offset: row.try_get("offset")?,
        };
        let place = || format!("{topic}:{position}");
        let entry = index.find(position.partition, position.offset);
        let Some(entry) = entry.filter(|_| topic == self.topic()) else {
            check.find(Foreign, place);
            return Ok(());
        };
        let Some((sent, expected)) = self.rejected(entry) else {
            check.find(Misplaced, || format!("{} as {reason}", place()));
            return Ok(());
        };
        let is_repeated = entry.see(Place::Rejections);
        check.expect(!is_repeated, Duplicated, place);
        check.expect(entry.timestamp_ms == position.timestamp_ms, Altered, || {
            format!("{}: record_timestamp", place())
        });
        let violations: Value = row.try_get("violations")?;
        let first = violations.pointer("/0/code").and_then(Value::as_str);
        check.expect(reason == expected && first == Some(expected), WrongReason, || {
            format!("{}: {reason} instead of {expected}", place())
        });
        for (name, sent) in [("key", &sent.key), ("value", &sent.value)] {
            let is_equal = is_stored(row, name, sent.as_deref())?;
            check.expect(is_equal, Altered, || format!("{}: {name}", place()));
        }
        let headers: Option<Value> = row.try_get("headers")?;
        check.expect(headers == Some(headers_column(&sent)), Altered, || {
            format!("{}: headers", place())
        });
        Ok(())
    }

    /// Checks the dead-letter topic.
    pub(super) fn check_dead_letters(
        &self,
        index: &mut RecordIndex,
    ) -> anyhow::Result<CheckResult> {
        let topic = format!("{}.dlq", self.topic());
        let name = format!("{} dead letters: each invalid record", self.stream.name());
        let mut check = CheckResult::new(1, &name);
        kafka::scan(&self.case.brokers, &topic, |message| {
            check.checked += 1;
            self.check_dead_letter(message, index, &mut check);
        })?;
        for (position, entry) in index.entries() {
            let is_missing = entry.is_rejected && !entry.is_seen(Place::DeadLetters);
            check.expect(!is_missing, MissingDeadLetter, || format!("{}:{position}", self.topic()));
        }
        Ok(check)
    }

    fn check_dead_letter(
        &self,
        message: &BorrowedMessage<'_>,
        index: &mut RecordIndex,
        check: &mut CheckResult,
    ) {
        let place = || format!("{}:{}", message.topic(), Position::of(message));
        let header = |name: &str| kafka::text_header(message, name);
        let number = |name: &str| header(name)?.parse::<i64>().ok();
        let partition = number("__connect.errors.partition").and_then(|it| i32::try_from(it).ok());
        let offset = number("__connect.errors.offset");
        let entry =
            partition.zip(offset).and_then(|(partition, offset)| index.find(partition, offset));
        let rejected = entry.and_then(|entry| Some((self.rejected(entry)?, entry)));
        let Some(((sent, reason), entry)) = rejected else {
            return check.find(EventWithoutFact, place);
        };
        entry.see(Place::DeadLetters);
        let found = header("waybill.error.reason");
        check.expect(found == Some(reason), WrongReason, || {
            format!("{}: {} instead of {reason}", place(), found.unwrap_or("none"))
        });
        let is_topic = header("__connect.errors.topic") == Some(self.topic());
        // A compacted topic refuses records without a key, so a dead letter always has one.
        let is_key = sent.key.is_none() || message.key() == sent.key.as_deref();
        let is_value = message.payload() == sent.value.as_deref();
        let is_cut = header("waybill.truncated").is_some();
        check.expect(is_topic && (is_cut || is_key && is_value), Altered, place);
    }
}

/// Compares a stored key or value with the one that was sent. Of a long one, the beginning, the
/// length and the hash are stored.
fn is_stored(row: &PgRow, name: &str, sent: Option<&[u8]>) -> Result<bool, sqlx::Error> {
    let stored: Option<Vec<u8>> = row.try_get(name)?;
    let length: Option<i64> = row.try_get(&*format!("{name}_length"))?;
    let hash: Option<Vec<u8>> = row.try_get(&*format!("{name}_sha256"))?;
    Ok(match sent {
        Some(sent) if sent.len() > STORED_WHOLE => {
            stored.as_deref() == Some(&sent[..STORED_OF_LONGER])
                && length.and_then(|it| usize::try_from(it).ok()) == Some(sent.len())
                && hash.as_deref() == Some(Sha256::digest(sent).as_slice())
        }
        sent => stored.as_deref() == sent && length.is_none() && hash.is_none(),
    })
}

/// Returns the headers of a record as the column `headers` holds them.
fn headers_column(sent: &SentRecord) -> Value {
    let header = |(name, value): &(String, Vec<u8>)| {
        Value::from(vec![name.clone(), BASE64_STANDARD.encode(value)])
    };
    sent.headers.iter().map(header).collect()
}
