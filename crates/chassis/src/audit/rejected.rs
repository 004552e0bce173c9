//! The audit checks of rejected records: each row has the fields of its record, and each row has a
//! dead letter. Whether a record should have been rejected is decided by the services.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, types::Json};

use crate::{
    audit::{
        check::Check,
        scanned::{ScannedTopic, no_offset},
    },
    kafka::{
        record::{Position, Record, milliseconds},
        topic_scan::{Ends, Scanner},
        topics::Cleanup,
    },
    postgres::transaction::Fault,
    rejected::{
        RejectedId, Rejection, Violation,
        fields::{RowColumns, RowFields},
    },
};

/// The rows of the rejected records of a topic, without their contents.
pub struct RejectedRows {
    topic: String,
    rows: HashMap<Position, RejectedRow>,
}

struct RejectedRow {
    fields: RowFields,
    rejected_ms: i64,
    /// True if its record was read.
    is_seen: bool,
}

impl RejectedRows {
    /// Reads the rows of a topic. The search path of the connection decides the schema of the table.
    pub async fn read(connection: &mut PgConnection, topic: &str) -> Result<Self, sqlx::Error> {
        let mut rows = HashMap::new();
        // Times that only a manual change can write are clamped, because they could not be read.
        let mut stored = sqlx::query!(
            "-- audit_rejected\n\
             SELECT \"partition\", \"offset\", \
                 greatest('epoch', least(record_timestamp, '9999-12-31T23:59:59.999Z')) \
                     AS \"timestamp!\", \
                 greatest('epoch', least(rejected_at, '9999-12-31T23:59:59.999Z')) \
                     AS \"rejected_at!\", \
                 key, key_length, key_sha256, value, value_length, value_sha256, \
                 headers::text, headers_length, reason, \
                 violations AS \"violations: Json<Vec<Violation>>\" \
             FROM rejected_records WHERE topic = $1",
            topic
        )
        .fetch(connection);
        while let Some(row) = stored.try_next().await? {
            let position = Position {
                timestamp_ms: milliseconds(row.timestamp),
                partition: row.partition,
                offset: row.offset,
            };
            let rejected_ms = milliseconds(row.rejected_at);
            let fields = RowFields::of(&RowColumns {
                key: row.key,
                key_length: row.key_length,
                key_sha256: row.key_sha256,
                value: row.value,
                value_length: row.value_length,
                value_sha256: row.value_sha256,
                headers: row.headers,
                headers_length: row.headers_length,
                reason: row.reason,
                violations: row.violations,
            });
            rows.insert(position, RejectedRow { fields, rejected_ms, is_seen: false });
        }
        Ok(Self { topic: topic.to_owned(), rows })
    }

    /// Compares a record with its row, and returns true if it has one. `rejection` is that of an
    /// invalid record, which must have a row if it `is_due`; a valid record may have one because the
    /// database refused it.
    pub fn look(
        &mut self,
        check: &mut Check,
        record: &Record<'_>,
        rejection: Option<&Rejection>,
        due: Due,
    ) -> bool {
        if due != Due::Unknown {
            check.note_read();
        }
        let position = record.position;
        match self.rows.get_mut(&position) {
            Some(row) => {
                row.is_seen = true;
                let difference = row.fields.difference(record, &expected(rejection));
                if difference.is_some() || due != Due::Unknown {
                    check.look(difference.is_none(), || {
                        let field = difference.unwrap_or_default();
                        format!("{}: {field}", id(&self.topic, position))
                    });
                }
                true
            }
            None => {
                if rejection.is_some() && due == Due::Committed {
                    check.look(false, || id(&self.topic, position));
                }
                false
            }
        }
    }

    /// Counts the rows whose record was not read.
    pub fn finish(&self, check: &mut Check, scanned: &ScannedTopic) {
        for (position, _) in self.rows.iter().filter(|(_, row)| !row.is_seen) {
            let example = || format!("{}: no record", id(&self.topic, *position));
            scanned.look_absent(check, *position, example);
        }
    }

    /// Checks that each row before the `committed` offsets has a dead letter.
    pub fn look_for_letters(
        &self,
        check: &mut Check,
        scanner: &Scanner,
        letters: &DeadLetters<'_>,
        committed: &Ends,
    ) -> anyhow::Result<()> {
        let DeadLetters { topic, cleanup, group } = *letters;
        let mut scanned = ScannedTopic::new(topic, &scanner.bounds(topic)?, cleanup);
        // A dead letter names the partition and the offset of its record, but not its timestamp.
        let mut seen = HashSet::new();
        scanner.read(topic, &scanned.ends(), |letter| {
            scanned.see(&letter);
            seen.extend(original(&letter));
            Ok(())
        })?;
        scanned.finish(&scanner.bounds(topic)?);
        let oldest_ms = self.rows.values().map(|row| row.rejected_ms).min();
        let since_ms = scanned.complete_since(oldest_ms.unwrap_or(i64::MAX));
        for (position, row) in &self.rows {
            let Position { partition, offset, .. } = *position;
            let Some(next) = committed.get(&partition) else {
                check.skip(1, &no_offset(group));
                continue;
            };
            // The dead letter of a record at or after the committed offset may not be sent yet.
            if offset >= *next {
                continue;
            }
            let is_seen = seen.contains(&(partition, offset));
            if is_seen || since_ms.is_some_and(|since_ms| since_ms <= row.rejected_ms) {
                check.look(is_seen, || id(&self.topic, *position));
            } else {
                check.skip(1, &scanned.incomplete());
            }
        }
        Ok(())
    }
}

/// A dead-letter topic.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetters<'a> {
    pub topic: &'a str,
    pub cleanup: Cleanup,
    /// The group that reads the records.
    pub group: &'a str,
}

/// The state of a record for the group that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It is before the committed offset, so it must be stored.
    Committed,
    /// It is after the committed offset, so it may be stored or not.
    NotYet,
    /// The group has no committed offset for its partition: it counts as not checked.
    Unknown,
}

impl Due {
    #[must_use]
    pub fn of(Position { partition, offset, .. }: Position, committed: &Ends) -> Self {
        match committed.get(&partition) {
            None => Self::Unknown,
            Some(next) if offset < *next => Self::Committed,
            Some(_) => Self::NotYet,
        }
    }
}

/// Returns the rejections that the row of a record may have.
fn expected(rejection: Option<&Rejection>) -> Vec<Rejection> {
    let fault = |code: &'static str| {
        let (pointer, message) = (String::new(), String::new());
        let violations = vec![Violation { pointer, code: code.to_owned(), message }];
        Rejection { reason: code, violations }
    };
    let [refused, panicked] = Fault::CODES;
    // A fault of the code may be removed since then, so the record may be valid or invalid now.
    vec![rejection.cloned().unwrap_or_else(|| fault(refused)), fault(panicked)]
}

fn id(topic: &str, Position { partition, offset, .. }: Position) -> String {
    RejectedId { topic: topic.to_owned(), partition, offset }.to_string()
}

fn original(letter: &Record<'_>) -> Option<(i32, i64)> {
    let partition = letter.header("__connect.errors.partition")?.parse().ok()?;
    Some((partition, letter.header("__connect.errors.offset")?.parse().ok()?))
}
