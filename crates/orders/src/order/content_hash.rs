//! The hash that identifies the content of an order: it decides whether a stored order changed, and
//! it is the `ETag`. It does not protect against tampering.

use std::{fmt, str::FromStr};

use twox_hash::XxHash3_128;

/// The XXH3 hash of the canonical order, 128 bits. As text: 32 hexadecimal digits.
///
/// It is not cryptographic. A producer that may send an order can construct two contents with one
/// hash; the later of them would then not replace the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ContentHash([u8; 16]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a content hash is 32 hexadecimal digits")]
pub(crate) struct InvalidContentHash;

impl TryFrom<&[u8]> for ContentHash {
    type Error = InvalidContentHash;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_| InvalidContentHash)
    }
}

impl ContentHash {
    /// Hashes the canonical order's bytes.
    pub(crate) fn of(json: &[u8]) -> Self {
        Self(XxHash3_128::oneshot(json).to_be_bytes())
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for ContentHash {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for ContentHash {
    type Err = InvalidContentHash;

    fn from_str(text: &str) -> Result<Self, InvalidContentHash> {
        // `from_str_radix` alone would accept a sign.
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidContentHash);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| InvalidContentHash)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_hash_reads_what_it_writes() {
        let hash = ContentHash::from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(hash.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.as_bytes()[15], 255);
        for text in ["", "0", "+00102030405060708090a0b0c0d0eff", &"0".repeat(33), &"ы".repeat(16)]
        {
            assert_eq!(text.parse::<ContentHash>(), Err(InvalidContentHash), "{text}");
        }
    }
}
