//! A courier: values that cannot be wrong. Pure.

use std::{fmt, str::FromStr};

use time::OffsetDateTime;

/// The longest name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 255;

/// The id of a courier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CourierId(i64);

impl CourierId {
    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl FromStr for CourierId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<i64>().map_err(|_| Invalid::Id)?.try_into()
    }
}

impl TryFrom<i64> for CourierId {
    type Error = Invalid;

    fn try_from(id: i64) -> Result<Self, Self::Error> {
        if id >= 1 { Ok(Self(id)) } else { Err(Invalid::Id) }
    }
}

impl fmt::Display for CourierId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a value of a courier cannot be taken. Never repeats the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// An id.
    #[error("must be a whole number from 1 on")]
    Id,
    /// A name.
    #[error("must not be blank")]
    BlankName,
    /// A name.
    #[error("must be at most {MAX_NAME_BYTES} bytes long")]
    LongName,
    /// A name.
    #[error("must not hold control characters")]
    ControlCharacter,
    /// A phone number.
    #[error("must be + and 10 to 15 digits")]
    Phone,
    /// A means of transport.
    #[error("must be on_foot, scooter or car")]
    Transport,
    /// A status.
    #[error("must be available or paused")]
    Status,
    /// A status that is never asked for.
    #[error("must be available or paused: busy follows from what the courier carries")]
    Busy,
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

/// A phone number: `+` and 10 to 15 digits. No two couriers have the same.
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

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone")
    }
}

/// How a courier moves; decides how long a delivery may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Walks.
    OnFoot,
    /// Rides a scooter.
    Scooter,
    /// Drives a car.
    Car,
}

impl Transport {
    /// Every means of transport.
    pub const ALL: [Self; 3] = [Self::OnFoot, Self::Scooter, Self::Car];

    /// The word on the wire and in the database.
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
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|one| one.as_str() == word).ok_or(Invalid::Transport)
    }
}

/// What a courier is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CourierStatus {
    /// Carries nothing and takes the next order.
    Available,
    /// Carries an order.
    Busy,
    /// Gets no order. He may still carry one.
    Paused,
}

impl CourierStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Available, Self::Busy, Self::Paused];

    /// The word on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Busy => "busy",
            Self::Paused => "paused",
        }
    }
}

impl FromStr for CourierStatus {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|one| one.as_str() == word).ok_or(Invalid::Status)
    }
}

/// What a courier may be asked to be: whether he is busy follows from what he carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedStatus {
    /// Take orders.
    Available,
    /// Take none.
    Paused,
}

impl AskedStatus {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Paused => "paused",
        }
    }
}

impl FromStr for AskedStatus {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word.parse()? {
            CourierStatus::Available => Ok(Self::Available),
            CourierStatus::Paused => Ok(Self::Paused),
            CourierStatus::Busy => Err(Invalid::Busy),
        }
    }
}

/// A courier to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCourier {
    /// His name.
    pub name: Name,
    /// His phone number.
    pub phone: Phone,
    /// Whether he starts at once.
    pub status: AskedStatus,
    /// How he moves.
    pub transport_type: Transport,
}

/// What is to change about a courier; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CourierChange {
    /// His name.
    pub name: Option<Name>,
    /// His phone number.
    pub phone: Option<Phone>,
    /// Pauses or resumes him.
    pub status: Option<AskedStatus>,
    /// How he moves, from his next order on.
    pub transport_type: Option<Transport>,
}

/// A courier as he is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Courier {
    /// His id.
    pub id: CourierId,
    /// His name.
    pub name: Name,
    /// His phone number.
    pub phone: Phone,
    /// What he is doing.
    pub status: CourierStatus,
    /// How he moves.
    pub transport_type: Transport,
    /// How many orders he has been given, but for cancelled ones and those taken from him.
    pub deliveries: i64,
    /// How many of these are completed.
    pub completed: i64,
    /// How many of these in time.
    pub on_time: i64,
    /// Since when he has carried nothing; of no meaning while he does.
    pub free_since: OffsetDateTime,
    /// When he was added.
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
    fn a_name_is_some_text() {
        assert_eq!(" Иван ".parse::<Name>().unwrap().as_ref(), "Иван");
        assert_eq!(" \t".parse::<Name>(), Err(Invalid::BlankName));
        assert_eq!("a\0b".parse::<Name>(), Err(Invalid::ControlCharacter));
        assert_eq!("x".repeat(256).parse::<Name>(), Err(Invalid::LongName));
    }

    #[test]
    fn words_are_read_as_they_are_written_and_busy_is_never_asked_for() {
        for one in Transport::ALL {
            assert_eq!(one.as_str().parse(), Ok(one));
        }
        for one in CourierStatus::ALL {
            assert_eq!(one.as_str().parse(), Ok(one));
        }
        assert_eq!("busy".parse::<AskedStatus>(), Err(Invalid::Busy));
        assert_eq!("gone".parse::<AskedStatus>(), Err(Invalid::Status));
        assert_eq!("0".parse::<CourierId>(), Err(Invalid::Id));
        assert_eq!("7".parse::<CourierId>(), Ok(CourierId(7)));
    }
}
