//! The id of an order. Both services and all clients use this one form; an id that breaks its rule
//! cannot be created.

use std::{borrow::Borrow, fmt, str::FromStr};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// The longest order id, in bytes of UTF-8.
pub const MAX_UID_BYTES: usize = 100;

/// The id of an order: 1 to [`MAX_UID_BYTES`] bytes, not blank, without control characters, and
/// neither `.` nor `..`: clients remove these from the path of an address (RFC 3986, 5.2.4), so such
/// an order could never be requested.
///
/// An id of at most 24 bytes needs no allocation. It compares and hashes like its text, so a map
/// with such keys can be searched with a `&str`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "CompactString")]
pub struct OrderUid(CompactString);

/// The reason why a text is not an order id. It never contains the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidOrderUid {
    /// Empty, or white space only.
    Blank,
    /// Longer than [`MAX_UID_BYTES`], with its length in bytes.
    TooLong(usize),
    /// Contains a control character (U+0000 to U+001F, U+007F to U+009F).
    ControlCharacter,
    /// `.` or `..`.
    Dots,
}

impl OrderUid {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks a text without creating an id, by the same rule as [`FromStr`].
    pub fn check(text: &str) -> Result<(), InvalidOrderUid> {
        if text.trim().is_empty() {
            return Err(InvalidOrderUid::Blank);
        }
        if text.len() > MAX_UID_BYTES {
            return Err(InvalidOrderUid::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidOrderUid::ControlCharacter);
        }
        if [".", ".."].contains(&text) {
            return Err(InvalidOrderUid::Dots);
        }
        Ok(())
    }
}

impl FromStr for OrderUid {
    type Err = InvalidOrderUid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }
}

impl TryFrom<CompactString> for OrderUid {
    type Error = InvalidOrderUid;

    fn try_from(text: CompactString) -> Result<Self, Self::Error> {
        Self::check(&text)?;
        Ok(Self(text))
    }
}

impl Borrow<str> for OrderUid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrderUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OrderUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for InvalidOrderUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("must not be blank"),
            Self::TooLong(bytes) => {
                write!(f, "is {bytes} bytes long, at most {MAX_UID_BYTES} are allowed")
            }
            Self::ControlCharacter => f.write_str("must not hold control characters"),
            Self::Dots => f.write_str("must not be . or .."),
        }
    }
}

impl std::error::Error for InvalidOrderUid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_text_in_any_script_and_with_blanks() {
        for text in
            ["b563feb7b2b84b6test", "заказ-7", "a b", "...", ".a", &"x".repeat(MAX_UID_BYTES)]
        {
            assert_eq!(text.parse::<OrderUid>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_blank_long_control_and_dots() {
        assert_eq!("".parse::<OrderUid>(), Err(InvalidOrderUid::Blank));
        assert_eq!("\u{a0} \t".parse::<OrderUid>(), Err(InvalidOrderUid::Blank));
        let long = "x".repeat(MAX_UID_BYTES + 1);
        assert_eq!(long.parse::<OrderUid>(), Err(InvalidOrderUid::TooLong(101)));
        assert_eq!("a\0b".parse::<OrderUid>(), Err(InvalidOrderUid::ControlCharacter));
        for dots in [".", ".."] {
            assert_eq!(dots.parse::<OrderUid>(), Err(InvalidOrderUid::Dots));
        }
    }
}
