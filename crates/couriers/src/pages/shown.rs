//! The part of the board that an address asks for: all lists, one list, or what a search finds.

use chassis::{
    http::{paging, path_segment, problem::Problem, problems::bad_parameter},
    process::number::decimal,
};
use serde::Deserialize;
use time::{Duration, OffsetDateTime, Time, serde::rfc3339};

use crate::{
    http::search::check_text,
    read::{List, Place},
};

/// The longest number in a place, in digits: the number of deliveries, or the id, of a courier.
const MAX_DIGITS: usize = 18;

/// The query of the board's address.
#[derive(Deserialize)]
pub(crate) struct BoardQuery {
    /// Asks for the board of this time or later. The board whose figures `/live` has sent is kept.
    #[serde(default, with = "rfc3339::option")]
    pub(super) at: Option<OffsetDateTime>,
    show: Option<String>,
    since: Option<String>,
    after: Option<String>,
    until: Option<String>,
    q: Option<String>,
}

/// The part of the board that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) content: Content,
    pub(super) range: Range,
    /// The rows after this one; only of one list.
    pub(super) after: Option<Place>,
    /// The rows up to this one.
    pub(super) until: Option<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    AllLists,
    One(List),
    /// The orders and couriers that a search finds.
    Found(String),
    /// The free couriers whom a search finds.
    FreeOf(String),
}

/// The age of the orders that are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Range {
    #[default]
    All,
    Quarter,
    Hour,
    Today,
}

impl Range {
    pub(super) const ALL: [Self; 4] = [Self::All, Self::Quarter, Self::Hour, Self::Today];

    /// Returns the word in an address, where there is one.
    pub(super) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Quarter => Some("15m"),
            Self::Hour => Some("1h"),
            Self::Today => Some("today"),
        }
    }

    /// Returns the time at which the range begins.
    pub(super) fn from(self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::All => None,
            Self::Quarter => Some(now - Duration::minutes(15)),
            Self::Hour => Some(now - Duration::hours(1)),
            Self::Today => Some(now.to_offset(time::UtcOffset::UTC).replace_time(Time::MIDNIGHT)),
        }
    }
}

impl Shown {
    pub(super) fn parse(query: &BoardQuery) -> Result<Self, Problem> {
        let list: Option<List> = query
            .show
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|rule| bad_parameter("show", rule))?;
        let range = match query.since.as_deref() {
            None | Some("all") => Range::All,
            Some(word) => Range::ALL
                .into_iter()
                .find(|range| range.as_str() == Some(word))
                .ok_or_else(|| bad_parameter("since", "must be 15m, 1h, today or all"))?,
        };
        let text = query.q.as_deref().map(str::trim).filter(|text| !text.is_empty());
        if let Some(text) = text {
            check_text("q", text)?;
        }
        let content = match (text, list) {
            (Some(text), None) => Content::Found(text.to_owned()),
            (Some(text), Some(List::Free)) => Content::FreeOf(text.to_owned()),
            (Some(_), Some(_)) => {
                return Err(bad_parameter("q", "searches in all lists, or with show=free"));
            }
            (None, Some(list)) => Content::One(list),
            (None, None) => Content::AllLists,
        };
        let place = |name, text: &Option<String>| match (text, &content) {
            (None, _) => Ok(None),
            (Some(text), Content::One(list)) => parse_place(*list, text)
                .map(Some)
                .ok_or_else(|| bad_parameter(name, "must be the cursor of a row of this list")),
            (Some(_), _) => Err(bad_parameter(name, "needs a list, with show")),
        };
        let (after, until) = (place("after", &query.after)?, place("until", &query.until)?);
        Ok(Self { content, range, after, until })
    }

    /// Returns true if the rows are the first ones of their lists, which all readers share.
    pub(super) fn is_first(&self, list: List) -> bool {
        self.after.is_none()
            && self.until.is_none()
            && (self.range == Range::All || !list.has_orders())
    }
}

/// Returns the address of the board with one list, or with all.
pub(super) fn href(list: Option<List>, range: Range, after: Option<&str>) -> String {
    let range = range.as_str().filter(|_| list.is_none_or(List::has_orders));
    let parts = [
        list.map(|list| format!("show={}", list.as_str())),
        range.map(|range| format!("since={range}")),
        after.map(|after| format!("after={}", path_segment(after))),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "/".to_owned() } else { format!("/?{}", parts.join("&")) }
}

/// Returns a place as it is written in an address.
pub(super) fn cursor(place: &Place) -> String {
    match place {
        Place::Order { at, order_id } => paging::cursor(*at, order_id),
        Place::Courier { deliveries, free_since, id } => {
            format!("{deliveries}.{}", paging::cursor(*free_since, &id.to_string()))
        }
    }
}

fn parse_place(list: List, text: &str) -> Option<Place> {
    if list.has_orders() {
        let (at, order_id) = paging::parse_cursor(text).ok()?;
        return Some(Place::Order { at, order_id });
    }
    let (deliveries, rest) = text.split_once('.')?;
    let (free_since, id) = paging::parse_cursor(rest).ok()?;
    let number = |text: &str| decimal(text, MAX_DIGITS);
    Some(Place::Courier { deliveries: number(deliveries)?, free_since, id: number(&id)? })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn query(show: Option<&str>, q: Option<&str>, after: Option<&str>) -> BoardQuery {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        BoardQuery {
            at: None,
            show: owned(show),
            since: None,
            after: owned(after),
            until: None,
            q: owned(q),
        }
    }

    #[test]
    fn a_place_in_an_address_is_read_as_it_was_written() {
        let at = datetime!(2026-11-23 11:03:08.112345 UTC);
        for (list, place) in [
            (List::Waiting, Place::Order { at, order_id: "a.b/ж".to_owned() }),
            (List::Road, Place::Order { at, order_id: "1".to_owned() }),
            (List::Free, Place::Courier { deliveries: 12, free_since: at, id: 7 }),
        ] {
            assert_eq!(parse_place(list, &cursor(&place)), Some(place));
        }
        for wrong in ["", "x", "1", "1.2", "1.2.x", "-1.2.3", "1.2.-3", "+1.2.3"] {
            assert_eq!(parse_place(List::Free, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_parameter_is_refused_by_its_name() {
        let refused = |query: BoardQuery| Shown::parse(&query).unwrap_err().detail;
        assert!(refused(query(Some("all"), None, None)).contains("show"));
        assert!(refused(query(Some("road"), Some("x"), None)).contains("q"));
        assert!(refused(query(None, Some(&"x".repeat(101)), None)).contains("q"));
        assert!(refused(query(None, None, Some("1.a"))).contains("after"));
        assert!(refused(query(Some("free"), None, Some("1.a"))).contains("after"));
        let since = BoardQuery { since: Some("2h".to_owned()), ..query(None, None, None) };
        assert!(refused(since).contains("since"));
    }

    #[test]
    fn a_range_stays_in_the_addresses_of_orders_only() {
        assert_eq!(href(None, Range::All, None), "/");
        assert_eq!(href(None, Range::Hour, None), "/?since=1h");
        assert_eq!(href(Some(List::Held), Range::Quarter, None), "/?show=held&since=15m");
        assert_eq!(
            href(Some(List::Free), Range::Quarter, Some("1.2.3")),
            "/?show=free&after=1.2.3"
        );
        let now = datetime!(2026-11-23 11:03:08 UTC);
        assert_eq!(Range::Today.from(now), Some(datetime!(2026-11-23 0:00 UTC)));
        assert_eq!(Range::Quarter.from(now), Some(datetime!(2026-11-23 10:48:08 UTC)));
    }
}
