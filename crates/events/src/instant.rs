//! Points in time as text: the one parser for orders and events.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// Parses RFC 3339 into UTC and whole microseconds, the precision of PostgreSQL. Returns `None` for
/// any other text, and for a time that is outside the years 0 to 9999 in UTC: it could be neither
/// stored nor written as RFC 3339 again.
#[must_use]
pub fn parse_instant(text: &str) -> Option<OffsetDateTime> {
    // The parser accepts any character between date and time; RFC 3339 has `T`, and allows a space.
    if !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let utc = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
    if !(0..=9999).contains(&utc.year()) {
        return None;
    }
    utc.replace_nanosecond(utc.nanosecond() / 1_000 * 1_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The canonical text of an instant.
    fn canonical(text: &str) -> Option<String> {
        parse_instant(text).map(|instant| instant.format(&Rfc3339).unwrap())
    }

    #[test]
    fn instants_become_utc_in_microseconds() {
        for (given, expected) in [
            ("2021-11-26T06:22:19Z", "2021-11-26T06:22:19Z"),
            ("2021-11-26t06:22:19z", "2021-11-26T06:22:19Z"),
            ("2021-11-26 06:22:19Z", "2021-11-26T06:22:19Z"),
            ("2021-11-26T09:22:19+03:00", "2021-11-26T06:22:19Z"),
            ("2021-11-25T22:52:19-07:30", "2021-11-26T06:22:19Z"),
            ("2021-11-26T06:22:19-00:00", "2021-11-26T06:22:19Z"),
            ("2021-11-26T06:22:19.500Z", "2021-11-26T06:22:19.5Z"),
            ("2021-11-26T06:22:19.000000Z", "2021-11-26T06:22:19Z"),
            ("2021-11-26T06:22:19.123456789Z", "2021-11-26T06:22:19.123456Z"),
            ("2021-11-26T06:22:19.9999999999999Z", "2021-11-26T06:22:19.999999Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            // A leap second is cut down to the last microsecond before it.
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
            ("2017-01-01T02:59:60+03:00", "2016-12-31T23:59:59.999999Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn texts_that_are_not_rfc_3339_are_rejected() {
        for text in [
            "",
            "2021-11-26",
            "2021-11-26T06:22:19",
            "2021-11-26T06:22Z",
            "2021-11-26_06:22:19Z",
            "2021-11-26T 06:22:19Z",
            "2021-11-26é06:22:19Z",
            " 2021-11-26T06:22:19Z",
            "2021-11-26T06:22:19Z ",
            "2021-11-26T06:22:19+03",
            "2021-11-26T06:22:19+0300",
            "2021-11-26T06:22:19+24:00",
            "2021-11-26T06:22:19.Z",
            "2021-11-26T06:22:19,5Z",
            "2021-11-26T06:60:00Z",
            "2021-11-26T24:00:00Z",
            "2021-11-26T06:22:60Z",
            "2021-00-26T06:22:19Z",
            "2021-11-31T06:22:19Z",
            "2023-02-29T06:22:19Z",
            "+2021-11-26T06:22:19Z",
            "-0001-11-26T06:22:19Z",
            "10000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-00:01",
            "0000-01-01T00:00:00+00:01",
            "1637907739",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
