//! A courier: values that are valid once they are parsed. This module does no I/O.

use std::{fmt, str::FromStr};

pub use events::{CourierId, Transport};
use time::OffsetDateTime;

pub const MAX_NAME_BYTES: usize = 255;

/// A value of a courier that is not accepted. The message never repeats the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("must not be blank")]
    BlankName,
    #[error("must be at most {MAX_NAME_BYTES} bytes long")]
    LongName,
    #[error("must not hold control characters")]
    ControlCharacter,
    #[error("must be + and 10 to 15 digits")]
    Phone,
    #[error("must be available, paused or retired")]
    Status,
    #[error("must be available, paused or retired; the service sets busy itself")]
    Busy,
    #[error("must be available or paused, because the courier is new")]
    NewAndRetired,
}

/// A courier's name: 1 to [`MAX_NAME_BYTES`] bytes, not blank, without blanks around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim();
        if name.is_empty() {
            Err(Invalid::BlankName)
        } else if name.len() > MAX_NAME_BYTES {
            Err(Invalid::LongName)
        } else if name.chars().any(char::is_control) {
            Err(Invalid::ControlCharacter)
        } else {
            Ok(Self(name.to_owned()))
        }
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A phone number: `+` and 10 to 15 digits. No two couriers have the same phone number.
#[derive(Clone, PartialEq, Eq)]
pub struct Phone(String);

impl FromStr for Phone {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('+').ok_or(Invalid::Phone)?;
        let plausible =
            (10..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plausible { Ok(Self(text.to_owned())) } else { Err(Invalid::Phone) }
    }
}

impl AsRef<str> for Phone {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

// The number itself is personal data and must not get into a log.
impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CourierStatus {
    /// Carries nothing and gets the next order.
    Available,
    /// Carries an order.
    Busy,
    /// Gets no order, but may still carry one.
    Paused,
    /// Works no more: gets no order and carries none.
    Retired,
}

impl CourierStatus {
    pub const ALL: [Self; 4] = [Self::Available, Self::Busy, Self::Paused, Self::Retired];

    /// Returns the word in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Busy => "busy",
            Self::Paused => "paused",
            Self::Retired => "retired",
        }
    }
}

impl FromStr for CourierStatus {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|one| one.as_str() == word).ok_or(Invalid::Status)
    }
}

/// A status that a client may set. Only the service sets `busy`, when it assigns an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedStatus {
    Available,
    Paused,
    Retired,
}

impl RequestedStatus {
    /// Returns the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Paused => "paused",
            Self::Retired => "retired",
        }
    }
}

impl FromStr for RequestedStatus {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word.parse()? {
            CourierStatus::Available => Ok(Self::Available),
            CourierStatus::Paused => Ok(Self::Paused),
            CourierStatus::Retired => Ok(Self::Retired),
            CourierStatus::Busy => Err(Invalid::Busy),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCourier {
    pub name: Name,
    pub phone: Phone,
    pub status: RequestedStatus,
    pub transport_type: Transport,
}

/// A change of a courier; `None` leaves a value as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CourierChange {
    pub name: Option<Name>,
    pub phone: Option<Phone>,
    /// Pauses, resumes, retires or restores the courier.
    pub status: Option<RequestedStatus>,
    /// Takes effect with the courier's next order.
    pub transport_type: Option<Transport>,
}

/// A stored courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Courier {
    pub id: CourierId,
    pub name: Name,
    pub phone: Phone,
    pub status: CourierStatus,
    pub transport_type: Transport,
    /// The number of orders assigned to the courier, except cancelled ones and those unassigned.
    pub deliveries: i64,
    /// The number of these that are completed.
    pub completed: i64,
    /// The number of these that were completed in time.
    pub on_time: i64,
    pub created_at: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_plus_and_ten_to_fifteen_digits() {
        for good in ["+0123456789", "+012345678901234"] {
            assert_eq!(good.parse::<Phone>().unwrap().as_ref(), good);
        }
        for bad in [
            "",
            "+",
            "0123456789",
            "+012345678",
            "+0123456789012345",
            "+01234 56789",
            "+٠١٢٣٤٥٦٧٨٩",
        ] {
            assert_eq!(bad.parse::<Phone>(), Err(Invalid::Phone), "{bad}");
        }
    }

    #[test]
    fn a_blank_or_long_name_and_control_characters_are_refused() {
        assert_eq!(" Иван ".parse::<Name>().unwrap().as_ref(), "Иван");
        assert_eq!(" \t".parse::<Name>(), Err(Invalid::BlankName));
        assert_eq!("a\0b".parse::<Name>(), Err(Invalid::ControlCharacter));
        assert_eq!("x".repeat(256).parse::<Name>(), Err(Invalid::LongName));
    }

    #[test]
    fn words_are_parsed_as_written_and_busy_cannot_be_set() {
        for one in CourierStatus::ALL {
            assert_eq!(one.as_str().parse(), Ok(one));
        }
        assert_eq!("busy".parse::<RequestedStatus>(), Err(Invalid::Busy));
        assert_eq!("gone".parse::<RequestedStatus>(), Err(Invalid::Status));
    }
}
