//! The shares of irregular records, by kind.

use std::{fmt, str::FromStr};

/// A number from 0 to 1, kept in millionths so that sums and choices are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Share(u32);

/// A share of 1, in millionths.
pub(super) const MILLION: u32 = 1_000_000;

impl Share {
    /// Returns a share of `percent` per cent, at most 100.
    pub(super) const fn percent(percent: u32) -> Self {
        Self(if percent < 100 { percent * (MILLION / 100) } else { MILLION })
    }

    pub(super) fn millionths(self) -> u32 {
        self.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let share: f64 = text.parse().map_err(|_| SHARE_RULE.to_owned())?;
        // No range contains NaN.
        if !(0.0..=1.0).contains(&share) {
            return Err(SHARE_RULE.to_owned());
        }
        Ok(Self((share * f64::from(MILLION)).round() as u32))
    }
}

const SHARE_RULE: &str = "a share is a number from 0 to 1; 0.05 is one in twenty";

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / f64::from(MILLION))
    }
}

/// The shares of all irregular records; the rest are new orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shares {
    pub(super) duplicates: Share,
    pub(super) changed: Share,
    pub(super) invalid: Share,
    pub(super) unparsable: Share,
}

impl Shares {
    /// Combines shares, or returns `None` if their sum is above 1.
    pub(crate) fn new(
        duplicates: Share,
        changed: Share,
        invalid: Share,
        unparsable: Share,
    ) -> Option<Self> {
        let sum = duplicates.0 + changed.0 + invalid.0 + unparsable.0;
        (sum <= MILLION).then_some(Self { duplicates, changed, invalid, unparsable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_and_bounded() {
        let share = |text: &str| text.parse::<Share>();
        assert_eq!(share("0.05").unwrap().millionths(), 50_000);
        assert_eq!(share("1").unwrap().to_string(), "1");
        for text in ["-0.1", "1.01", "5%", "NaN", "inf", ""] {
            assert!(share(text).is_err(), "{text}");
        }
        // In floating point these three sum to more than 1.
        let [a, b, c] = ["0.1", "0.2", "0.7"].map(|text| share(text).unwrap());
        assert!(Shares::new(a, b, c, Share::default()).is_some());
        assert!(Shares::new(a, b, c, share("0.000001").unwrap()).is_none());
    }
}
