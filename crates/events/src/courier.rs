//! The values of a courier that the order service reads, too: the id and the means of transport.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The largest id: 15 digits, which every JSON parser reads exactly.
const MAX_ID: i64 = 999_999_999_999_999;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64")]
pub struct CourierId(i64);

/// A value that is not the id of a courier. The message never repeats the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCourierId;

impl CourierId {
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl FromStr for CourierId {
    type Err = InvalidCourierId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `parse` alone would also accept `+7` and `007`.
        if text.starts_with(['+', '0']) {
            return Err(InvalidCourierId);
        }
        text.parse::<i64>().map_err(|_| InvalidCourierId)?.try_into()
    }
}

impl TryFrom<i64> for CourierId {
    type Error = InvalidCourierId;

    fn try_from(id: i64) -> Result<Self, Self::Error> {
        if (1..=MAX_ID).contains(&id) { Ok(Self(id)) } else { Err(InvalidCourierId) }
    }
}

impl fmt::Display for CourierId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for InvalidCourierId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be a whole number from 1 to {MAX_ID}")
    }
}

impl std::error::Error for InvalidCourierId {}

/// A courier's means of transport, which decides how long a delivery may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    OnFoot,
    Scooter,
    Car,
}

/// A word that is not a means of transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownTransport;

impl Transport {
    pub const ALL: [Self; 3] = [Self::OnFoot, Self::Scooter, Self::Car];

    /// Returns the word in JSON and in the databases.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnFoot => "on_foot",
            Self::Scooter => "scooter",
            Self::Car => "car",
        }
    }
}

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|one| one.as_str() == word).ok_or(UnknownTransport)
    }
}

impl fmt::Display for UnknownTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be on_foot, scooter or car")
    }
}

impl std::error::Error for UnknownTransport {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_words_are_parsed_as_written() {
        for one in Transport::ALL {
            assert_eq!(one.as_str().parse(), Ok(one));
            assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
        }
        for wrong in ["", "Car", "plane"] {
            assert_eq!(wrong.parse::<Transport>(), Err(UnknownTransport), "{wrong}");
        }
        for wrong in ["0", "-1", "+7", "007", "1000000000000000", "", "7.0"] {
            assert_eq!(wrong.parse::<CourierId>(), Err(InvalidCourierId), "{wrong}");
        }
        assert_eq!("999999999999999".parse::<CourierId>().unwrap().get(), MAX_ID);
        assert_eq!("7".parse::<CourierId>(), Ok(CourierId(7)));
    }
}
