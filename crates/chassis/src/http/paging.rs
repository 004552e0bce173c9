//! Keyset pages: a limit, a cursor at which the last page ended, and a link to the next page. The
//! queries are in the services.

use axum::response::Response;
use http::{HeaderValue, header};
use time::{OffsetDateTime, PrimitiveDateTime};

use super::{path_segment, problems};
use crate::{http::problem::Problem, process::number::decimal};

const DEFAULT_LIMIT: i64 = 50;
pub const MAX_LIMIT: i64 = 500;
/// The digits of the microseconds from 1970 to the year 9999.
const MAX_MICROS_DIGITS: usize = 18;

/// Returns the length of a page: the requested one, or the default.
pub fn parse_limit(limit: Option<i64>) -> Result<i64, Problem> {
    parse_limit_within(limit, MAX_LIMIT)
}

/// Returns the same for a call whose pages have at most `max` entries.
pub fn parse_limit_within(limit: Option<i64>, max: i64) -> Result<i64, Problem> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        _ => {
            let rule = format!("must be a whole number from 1 to {max}");
            Err(problems::bad_parameter("limit", &rule))
        }
    }
}

/// Returns the cursor after a row: its instant in microseconds, the precision of PostgreSQL, and
/// its id.
#[must_use]
pub fn cursor(at: OffsetDateTime, id: &str) -> String {
    format!("{}.{id}", at.unix_timestamp_nanos() / 1_000)
}

/// Parses a cursor that [`cursor`] has written. The rule is the pattern of `after` in the OpenAPI
/// documents. An instant after the year 9999 counts as its last one.
pub fn parse_cursor(text: &str) -> Result<(OffsetDateTime, String), Problem> {
    let (micros, id) = text.split_once('.').ok_or_else(bad_cursor)?;
    let micros: i64 = decimal(micros, MAX_MICROS_DIGITS).ok_or_else(bad_cursor)?;
    if id.is_empty() || id.contains('\0') {
        return Err(bad_cursor());
    }
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000);
    let last = PrimitiveDateTime::MAX.replace_nanosecond(999_999_000);
    Ok((at.unwrap_or(last.expect("it is valid").assume_utc()), id.to_owned()))
}

#[must_use]
pub fn bad_cursor() -> Problem {
    problems::bad_parameter("after", "must be the \"next\" of an earlier page")
}

/// Adds the address of the next page as the `Link` header: `path` with the limit, the cursor and
/// the filters that have a value.
pub fn link_next(
    response: &mut Response,
    path: &str,
    (limit, next): (i64, &str),
    filters: &[(&str, Option<&str>)],
) {
    let mut link = format!("<{path}?limit={limit}&after={}", path_segment(next));
    for (name, value) in filters {
        if let Some(value) = value {
            link.push_str(&format!("&{name}={}", path_segment(value)));
        }
    }
    link.push_str(">; rel=\"next\"");
    let link = HeaderValue::try_from(link).expect("a path and escaped values are ASCII");
    response.headers_mut().insert(header::LINK, link);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_cursor_is_parsed_as_the_same_row() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_637_907_727_123_456_000).unwrap();
        let (again, id) = parse_cursor(&cursor(at, "a.b ю")).unwrap();
        assert_eq!((again, id.as_str()), (at, "a.b ю"));
        let latest = parse_cursor("999999999999999999.a").unwrap().0;
        assert_eq!(latest.unix_timestamp_nanos(), 253_402_300_799_999_999_000);
        for wrong in ["", "x", "x.y", "1.", "-1.a", "+1.a", "1.\0", "9999999999999999999.a"] {
            assert_eq!(parse_cursor(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
