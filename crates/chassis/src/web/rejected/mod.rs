//! The pages of rejected records that all services share: a list with its filters, one record, the check
//! of an edited record, and the results of a replay of many.
//!
//! ```text
//! result of a call (rejected::calls, replays) ─▶ view ─▶ templates/rejected*.html
//! ```
//!
//! A service names its records and its rules in a [`Kind`], and has a template struct for each page,
//! because Askama resolves `frame.html` in the crate of the struct. Everything except editing works
//! without JavaScript.

mod lines;
mod list;
mod record;
mod results;
mod words;

pub use self::{
    lines::{Line, Part},
    list::{ListView, RowView},
    record::{HeaderView, RecordView, ReplayView, RuleView, SettledView, ValueView},
    results::{CheckView, CheckedRule, ResultView, ResultsView},
    words::{KindTexts, LiveRejectedWords, RejectedWords},
};
use crate::{
    http::path_segment,
    rejected::{Filter, RejectedId, Violation},
    web::{Lang, words::translated},
};

/// The records of a service, in the language of a page.
#[derive(Clone, Copy)]
pub struct Kind<'a> {
    pub lang: Lang,
    pub texts: &'static KindTexts,
    /// The codes for which a record can be rejected.
    pub reasons: &'a [&'static str],
    /// Returns the Russian text of a code, if it has one.
    pub russian: fn(&str) -> Option<&'static str>,
    /// The topic to which replays are sent.
    pub topic: &'a str,
}

impl Kind<'_> {
    fn words(&self) -> &'static RejectedWords {
        RejectedWords::of(self.lang)
    }

    /// Returns the text of a violation. In English, and for a code without a translation, it is the
    /// stored message.
    fn violation<'a>(&self, violation: &'a Violation) -> &'a str {
        translated(self.lang, &violation.message, (self.russian)(&violation.code))
    }
}

/// Returns the path of a rejected record.
#[must_use]
pub fn rejected_path(id: &RejectedId) -> String {
    format!("/rejected/{}", path_segment(&id.to_string()))
}

/// Returns a position as pages show it, such as `orders/3 @ 18204`.
fn position(id: &RejectedId) -> String {
    format!("{}/{} @ {}", id.topic, id.partition, id.offset)
}

/// Returns the address of a call with the filter and further parameters.
fn address(path: &str, filter: &Filter, more: &[(&'static str, &str)]) -> String {
    let filters = filter.parameters();
    let filters = filters.iter().map(|(name, value)| (*name, value.as_str()));
    let all = filters.chain(more.iter().copied());
    let all: Vec<_> = all.map(|(name, value)| format!("{name}={}", path_segment(value))).collect();
    if all.is_empty() { path.to_owned() } else { format!("{path}?{}", all.join("&")) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::web::Assets;

    #[test]
    fn an_address_has_the_filters_that_are_set() {
        let filter = Filter {
            reason: Some("missing".to_owned()),
            text: Some("a&b".to_owned()),
            ..Filter::default()
        };
        let more = [("after", "1.orders:0:7")];
        assert_eq!(
            address("/rejected", &filter, &more),
            "/rejected?reason=missing&q=a%26b&after=1.orders:0:7"
        );
        assert_eq!(address("/rejected", &Filter::default(), &[]), "/rejected");
    }

    #[test]
    fn the_script_uses_only_texts_that_the_page_has() {
        let assets = Assets::with([]);
        for lang in Lang::ALL {
            let texts: Value = serde_json::from_str(&RejectedWords::of(lang).live_json()).unwrap();
            let used = assets.texts_used("rejected_page.js");
            assert!(used.contains(&"stopped"), "{used:?}");
            for name in used {
                assert_ne!(texts[name], Value::Null, "{name}");
            }
        }
    }
}
