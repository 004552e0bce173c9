//! Numbers in text: those of the configuration have a range, which the error message names, and those
//! of requests have a number of digits.

use std::{ops::RangeInclusive, str::FromStr};

/// Returns a parser for a whole number in `range`, which must fit into `T`.
pub fn within<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            format!("must be a whole number from {} to {}", range.start(), range.end())
        })
    }
}

/// Parses 1 to `max_digits` digits, with nothing before or after them.
pub fn decimal<T: FromStr>(text: &str, max_digits: usize) -> Option<T> {
    // `parse` alone would also accept a sign.
    let is_decimal =
        (1..=max_digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_decimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_its_range() {
        let parse = within::<u16>(1..=64);
        assert_eq!((parse("1"), parse("64")), (Ok(1), Ok(64)));
        for wrong in ["", "0", "65", "-1", "many", "1.5", " 1", "99999999999999999999"] {
            assert_eq!(parse(wrong), Err("must be a whole number from 1 to 64".to_owned()));
        }
        assert_eq!((decimal("007", 3), decimal("0", 1)), (Some(7), Some(0)));
        for wrong in ["", "+7", "-7", "7.0", " 7", "1000", "७"] {
            assert_eq!(decimal::<i64>(wrong, 3), None, "{wrong}");
        }
        assert!(within::<u64>(0..=u64::MAX)("18446744073709551615").is_ok());
    }
}
