//! Limits how much of a record is kept. A compressed batch can contain records of hundreds of
//! megabytes, and neither the memory of a service nor the table may grow by all of it.

use sha2::{Digest as _, Sha256};

use crate::kafka::record::Headers;

/// A key or a value above this length is cut. A valid order is never longer.
const MAX_WHOLE_BYTES: usize = 1 << 20;
/// The length of the part of a larger key or value that is kept.
const KEPT_BYTES: usize = 64 << 10;
/// Own headers above this size together are left out.
const MAX_HEADERS_BYTES: usize = 1 << 20;
/// The memory that a header needs beside its name and its value, so that the number of headers is
/// bounded, too.
const HEADER_OVERHEAD_BYTES: usize = 48;

/// The prefixes of headers that Waybill and Kafka Connect add.
const ADDED_PREFIXES: [&str; 2] = ["waybill.", "__connect.errors."];

/// The length and the SHA-256 of a key or a value of which only the first bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    pub length: u64,
    pub sha256: Vec<u8>,
}

impl Whole {
    /// Returns the SHA-256 in lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns the part of a key or a value that is kept, and its length and hash if it is cut.
pub(super) fn cut(bytes: &[u8]) -> (&[u8], Option<Box<Whole>>) {
    if bytes.len() <= MAX_WHOLE_BYTES {
        return (bytes, None);
    }
    let sha256 = Sha256::digest(bytes).to_vec();
    (&bytes[..KEPT_BYTES], Some(Box::new(Whole { length: bytes.len() as u64, sha256 })))
}

/// The name and the value of a header.
type OwnHeader = (Box<str>, Option<Box<[u8]>>);

/// The own headers of a record: all except those that Waybill or Kafka Connect adds, because a dead
/// letter and a replay get new ones of these.
#[derive(Debug, Default)]
pub(super) struct OwnHeaders {
    /// Names and values; none if they are left out.
    pub(super) kept: Vec<OwnHeader>,
    /// The size that they need in memory.
    pub(super) size: usize,
    /// The length of all names and values, if they are left out.
    pub(super) left_out: Option<u64>,
}

impl OwnHeaders {
    pub(super) fn of(headers: Headers<'_>) -> Self {
        let own = headers
            .iter()
            .filter(|(name, _)| !ADDED_PREFIXES.iter().any(|it| name.starts_with(it)));
        Self::collect(own)
    }

    fn collect<'a>(own: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let (mut headers, mut length) = (Self::default(), 0);
        for (name, value) in own {
            let bytes = name.len() + value.map_or(0, <[u8]>::len);
            length += bytes as u64;
            headers.size += bytes + HEADER_OVERHEAD_BYTES;
            if headers.size > MAX_HEADERS_BYTES {
                headers.kept = Vec::new();
                headers.left_out = Some(length);
            } else {
                headers.kept.push((name.into(), value.map(Into::into)));
            }
        }
        if headers.left_out.is_some() {
            headers.left_out = Some(length);
            headers.size = 0;
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_above_a_mebibyte_is_cut() {
        let whole = vec![b'a'; MAX_WHOLE_BYTES];
        assert_eq!(cut(&whole), (whole.as_slice(), None));

        let large = vec![b'a'; MAX_WHOLE_BYTES + 1];
        let (kept, whole) = cut(&large);
        assert_eq!(kept, &large[..KEPT_BYTES]);
        let whole = whole.unwrap();
        assert_eq!(whole.length, 1_048_577);
        // printf 'a%.0s' {1..1048577} | sha256sum
        assert_eq!(whole.hex(), "4a3f0c0c213adea174f9a3d4c13177315b588bdb2e9c1012d3d0bf0453ca0f6a");
    }

    #[test]
    fn headers_are_bounded_in_size_and_in_number() {
        let value = vec![0; 500_000];
        let two = [("a", Some(&*value)), ("b", Some(&*value))];
        let headers = OwnHeaders::collect(two.into_iter());
        assert_eq!((headers.kept.len(), headers.left_out), (2, None));

        let three = OwnHeaders::collect(two.into_iter().chain([("c", Some(&*value))]));
        assert_eq!((three.kept.len(), three.size, three.left_out), (0, 0, Some(1_500_003)));

        let many = OwnHeaders::collect(std::iter::repeat_n(("", None), 1_000_000));
        assert_eq!((many.kept.len(), many.left_out), (0, Some(0)));
    }
}
