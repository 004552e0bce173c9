//! The filters of rejected records: the query of a call becomes a [`Filter`], which a link or a form
//! shows again. [`matching`](super::matching) finds the records.

use serde::Deserialize;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::{RejectedId, matching::Cursor};
use crate::http::{paging, problem::Problem, problems::bad_parameter};

/// The longest text to search for, and the longest pointer, in characters.
const MAX_TEXT_CHARS: usize = 200;
const MAX_FIELD_CHARS: usize = 500;

/// The query of the calls about several rejected records. An empty parameter counts as absent: a
/// form sends all of its fields.
#[derive(Debug, Default, Deserialize)]
pub struct RejectedQuery {
    reason: Option<String>,
    key: Option<String>,
    field: Option<String>,
    q: Option<String>,
    from: Option<String>,
    to: Option<String>,
    settled: Option<String>,
    limit: Option<i64>,
    after: Option<String>,
}

/// The records that a call is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub reason: Option<String>,
    pub key: Option<String>,
    /// The beginning of the pointer of a violation.
    pub field: Option<String>,
    /// A text in the id, the key, the value, the reason or a violation.
    pub text: Option<String>,
    /// The earliest time of the rejection.
    pub from: Option<OffsetDateTime>,
    /// The first time of the rejection that is too late.
    pub to: Option<OffsetDateTime>,
    pub state: State,
}

/// The records that a filter takes by their state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// Records that are not settled.
    #[default]
    Left,
    Settled,
    Any,
}

/// A parsed query.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) filter: Filter,
    pub(super) limit: i64,
    pub(super) after: Option<Cursor>,
}

impl RejectedQuery {
    /// Parses the query of a call that takes at most `max_limit` records.
    pub(super) fn parse(self, max_limit: i64) -> Result<Parsed, Problem> {
        let limit = paging::parse_limit_within(self.limit, max_limit)?;
        let after = match self.after.as_deref().map(paging::parse_cursor).transpose()? {
            None => None,
            Some((at, id)) => {
                let id: RejectedId = id.parse().map_err(|_| paging::bad_cursor())?;
                Some(Cursor { at, id })
            }
        };
        Ok(Parsed { filter: self.filter()?, limit, after })
    }

    /// Parses the filters.
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let field = given(&self.field);
        if field.as_deref().is_some_and(|field| !is_pointer(field)) {
            let rule = "must be a JSON pointer of at most 500 characters, such as /delivery";
            return Err(bad_parameter("field", rule));
        }
        let text = given(&self.q);
        if text.as_deref().is_some_and(|text| text.chars().count() > MAX_TEXT_CHARS) {
            return Err(bad_parameter("q", "must have at most 200 characters"));
        }
        let state = match self.settled.as_deref() {
            None | Some("false") => State::Left,
            Some("true") => State::Settled,
            Some("any") => State::Any,
            Some(_) => return Err(bad_parameter("settled", "must be true, false or any")),
        };
        Ok(Filter {
            reason: given(&self.reason),
            key: given(&self.key),
            field,
            text,
            from: parse_time("from", self.from.as_deref())?,
            to: parse_time("to", self.to.as_deref())?,
            state,
        })
    }
}

fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.chars().count() <= MAX_FIELD_CHARS
}

/// Parses a time. A form of a browser sends it without an offset, and perhaps without seconds: such
/// a time is in UTC.
fn parse_time(name: &str, text: Option<&str>) -> Result<Option<OffsetDateTime>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let forms = [text.to_owned(), format!("{text}Z"), format!("{text}:00Z")];
    let utc = |form: &String| {
        let time = OffsetDateTime::parse(form, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
        // In UTC, a time at the edge may be in a year that RFC 3339 does not have.
        (0..=9_999).contains(&time.year()).then_some(time)
    };
    let time = forms.iter().find_map(utc);
    let rule = "must be a time by RFC 3339, such as 2026-03-01T12:00:00Z";
    time.map(Some).ok_or_else(|| bad_parameter(name, rule))
}

/// Returns a time of a filter as it is parsed again.
#[must_use]
pub fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).expect("a filter has no time outside of the years 0 to 9999")
}

impl Filter {
    /// Returns the parameters of the query that has these filters, without those that are absent.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let instant = |at: Option<OffsetDateTime>| at.map(rfc3339);
        let state = match self.state {
            State::Left => None,
            State::Settled => Some("true".to_owned()),
            State::Any => Some("any".to_owned()),
        };
        let all = [
            ("reason", self.reason.clone()),
            ("key", self.key.clone()),
            ("field", self.field.clone()),
            ("q", self.text.clone()),
            ("from", instant(self.from)),
            ("to", instant(self.to)),
            ("settled", state),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_time_of_a_form_is_in_utc() {
        let at = |text| parse_time("from", Some(text)).unwrap();
        assert_eq!(at("2026-03-01T12:00"), Some(datetime!(2026-03-01 12:00 UTC)));
        assert_eq!(at("2026-03-01T12:00:07"), Some(datetime!(2026-03-01 12:00:07 UTC)));
        assert_eq!(at("2026-03-01T12:00:07.5"), Some(datetime!(2026-03-01 12:00:07.5 UTC)));
        assert_eq!(at("2026-03-01T12:00:07+03:00"), Some(datetime!(2026-03-01 09:00:07 UTC)));
        assert_eq!(at(""), None);
        for wrong in ["9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"] {
            assert!(parse_time("to", Some(wrong)).is_err(), "{wrong}");
        }
        for wrong in ["yesterday", "2026-03-01", "2026-03-01T12:00+03:00", "2026-13-01T12:00"] {
            let problem = parse_time("from", Some(wrong)).unwrap_err();
            assert!(problem.detail.starts_with("the parameter from "), "{wrong}");
        }
    }

    #[test]
    fn a_filter_is_the_same_after_its_parameters() {
        let text = |text: &str| Some(text.to_owned());
        let query = RejectedQuery {
            reason: text("missing"),
            key: text("k"),
            field: text("/items/0"),
            q: text("a b"),
            from: text("2026-03-01T12:00"),
            to: text("2026-03-02T12:00:00.25+01:00"),
            settled: text("any"),
            limit: None,
            after: None,
        };
        let filter = query.filter().unwrap();
        let named = filter.parameters();
        let get = |name: &str| named.iter().find(|(one, _)| *one == name).map(|(_, it)| it.clone());
        let again = RejectedQuery {
            reason: get("reason"),
            key: get("key"),
            field: get("field"),
            q: get("q"),
            from: get("from"),
            to: get("to"),
            settled: get("settled"),
            limit: None,
            after: None,
        };
        assert_eq!(again.filter().unwrap(), filter);
        assert_eq!(Filter::default().parameters(), []);
        assert_eq!(RejectedQuery::default().filter().unwrap(), Filter::default());
    }

    #[test]
    fn a_refusal_names_its_parameter() {
        let query = |change: fn(&mut RejectedQuery)| {
            let mut query = RejectedQuery::default();
            change(&mut query);
            query.parse(500).unwrap_err().detail
        };
        for (detail, name) in [
            (query(|it| it.field = Some("delivery".to_owned())), "field"),
            (query(|it| it.field = Some("/".repeat(501))), "field"),
            (query(|it| it.q = Some("ы".repeat(201))), "q"),
            (query(|it| it.to = Some("soon".to_owned())), "to"),
            (query(|it| it.settled = Some("yes".to_owned())), "settled"),
            (query(|it| it.limit = Some(501)), "limit"),
            (query(|it| it.after = Some("1.x".to_owned())), "after"),
        ] {
            assert!(detail.starts_with(&format!("the parameter {name} ")), "{detail}");
        }
    }
}
