//! The stored fields of a rejected record as digests, so that the audit can compare all rows with
//! their records in little memory. [`insert`](super::insert) writes these fields.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use sqlx::types::Json;

use super::{
    Rejection, Violation,
    cut::{OwnHeaders, cut},
    table::headers_column,
};
use crate::kafka::record::Record;

/// The digests of the fields of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowFields {
    key: u64,
    value: u64,
    /// `None` for a row of a version that did not store headers.
    headers: Option<u64>,
    reason: u64,
    violations: u64,
}

/// The columns of a row that are compared.
pub(crate) struct RowColumns {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) key_length: Option<i64>,
    pub(crate) key_sha256: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) value_length: Option<i64>,
    pub(crate) value_sha256: Option<Vec<u8>>,
    pub(crate) headers: Option<String>,
    pub(crate) headers_length: Option<i64>,
    pub(crate) reason: String,
    pub(crate) violations: Json<Vec<Violation>>,
}

impl RowFields {
    pub(crate) fn of(row: &RowColumns) -> Self {
        let has_headers = row.headers.is_some() || row.headers_length.is_some();
        Self {
            key: digest((row.key.as_deref(), row.key_length, row.key_sha256.as_deref())),
            value: digest((row.value.as_deref(), row.value_length, row.value_sha256.as_deref())),
            headers: has_headers.then(|| digest((row.headers.as_deref(), row.headers_length))),
            reason: digest(row.reason.as_str()),
            violations: digest_of(&row.violations),
        }
    }

    /// Returns the first field that differs from `record` and from the reasons that `expected` allows.
    pub(crate) fn difference(
        &self,
        record: &Record<'_>,
        expected: &[Rejection],
    ) -> Option<&'static str> {
        let is_expected = |rejection: &Rejection| {
            self.reason == digest(rejection.reason)
                && self.violations == digest_of(&rejection.violations)
        };
        let has_reason = |rejection: &Rejection| self.reason == digest(rejection.reason);
        let bytes_match = |stored: u64, bytes: Option<&[u8]>| digests(bytes).contains(&stored);
        if !bytes_match(self.key, record.key) {
            Some("key")
        } else if !bytes_match(self.value, record.value) {
            Some("value")
        } else if self.headers.is_some_and(|stored| stored != headers(record)) {
            Some("headers")
        } else if !expected.iter().any(has_reason) {
            Some("reason")
        } else if !expected.iter().any(is_expected) {
            Some("violations")
        } else {
            None
        }
    }
}

/// Returns the digests of a key or a value as this version stores it, and as a version did that cut
/// nothing.
fn digests(bytes: Option<&[u8]>) -> [u64; 2] {
    let whole = digest((bytes, None::<i64>, None::<&[u8]>));
    let kept = bytes.map(cut).and_then(|(kept, whole)| Some((kept, whole?)));
    let stored = kept.map_or(whole, |(kept, whole)| {
        digest((Some(kept), Some(whole.length.cast_signed()), Some(whole.sha256.as_slice())))
    });
    [stored, whole]
}

fn headers(record: &Record<'_>) -> u64 {
    let headers = OwnHeaders::of(record.headers());
    let length = headers.left_out.map(u64::cast_signed);
    digest((headers_column(&headers).as_deref(), length))
}

/// The messages are left out: they are for people, and another version may have written them.
fn digest_of(violations: &[Violation]) -> u64 {
    let codes: Vec<_> = violations.iter().map(|one| (&one.pointer, &one.code)).collect();
    digest(codes)
}

fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
