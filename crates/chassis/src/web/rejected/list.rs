//! The list of rejected records, with its filters and the replay of all that match.

use time::OffsetDateTime;

use super::{Kind, KindTexts, RejectedWords, address, position, record::RuleView, rejected_path};
use crate::{
    rejected::{Counted, Filter, Outcome, RejectedRow, State, calls::RejectedList, rfc3339},
    web::words::{counted, fill},
};

/// The most violations of a record in the list.
const MAX_LISTED_VIOLATIONS: usize = 3;
/// The records of one replay without JavaScript.
pub(super) const REPLAYED_WITHOUT_SCRIPT: &str = "50";

pub struct ListView<'a> {
    pub words: &'static RejectedWords,
    pub texts: &'static KindTexts,
    pub reasons: Vec<&'a str>,
    pub reason: &'a str,
    pub text: &'a str,
    pub field: &'a str,
    pub key: &'a str,
    pub from: String,
    pub to: String,
    pub state: &'static str,
    /// True if a filter is set that is folded away otherwise.
    pub has_more_filters: bool,
    pub has_filter: bool,
    /// The number of records that match, as a sentence; `None` if it is not known.
    pub count: Option<String>,
    /// The same as a number, if it is known exactly.
    pub exact: Option<u64>,
    pub rows: Vec<RowView<'a>>,
    pub empty: &'static str,
    /// The address of the next page, and the text of the link to it.
    pub older: Option<(String, &'static str)>,
    /// The address that replays the records of this filter; `None` if there is none to replay.
    pub replay: Option<String>,
    /// The same address with a limit, for a form without JavaScript.
    pub replay_page: String,
    pub live: String,
}

pub struct RowView<'a> {
    pub href: String,
    pub position: String,
    pub at: OffsetDateTime,
    pub reason: &'a str,
    pub rules: Vec<RuleView<'a>>,
    pub more: Option<String>,
    /// The text and the tone of its state, if it is settled or was replayed.
    pub state: Option<(&'static str, &'static str)>,
}

impl<'a> ListView<'a> {
    #[must_use]
    pub fn of(kind: &Kind<'a>, list: &'a RejectedList, count: Option<Counted>) -> Self {
        let (words, filter) = (kind.words(), &list.filter);
        let Filter { reason, key, field, text, from, to, state } = filter;
        let has_filter = *filter != Filter::default();
        let given = |text: &'a Option<String>| text.as_deref().unwrap_or("");
        let older = list.next.as_deref().map(|after| {
            let label = if list.rows.is_empty() { words.search_on } else { words.older };
            (address("/rejected", filter, &[("after", after)]), label)
        });
        let is_any = !list.rows.is_empty() && !list.continues;
        Self {
            words,
            texts: kind.texts,
            reasons: reasons(kind, reason.as_deref()),
            reason: given(reason),
            text: given(text),
            field: given(field),
            key: given(key),
            from: from.map_or_else(String::new, rfc3339),
            to: to.map_or_else(String::new, rfc3339),
            state: match state {
                State::Left => "false",
                State::Settled => "true",
                State::Any => "any",
            },
            has_more_filters: [key, field].iter().any(|one| one.is_some())
                || [from, to].iter().any(|one| one.is_some()),
            has_filter,
            count: count.map(|count| count_text(kind, count, has_filter)),
            exact: count.filter(|count| count.is_exact).map(|count| count.count),
            rows: list.rows.iter().map(|row| RowView::of(kind, row)).collect(),
            empty: match (&list.next, has_filter) {
                (Some(_), _) => words.none_yet,
                (None, true) => words.none_matches,
                (None, false) => words.none,
            },
            older,
            replay: is_any.then(|| address("/rejected/replay", filter, &[])),
            replay_page: address("/rejected/replay", filter, &[("limit", REPLAYED_WITHOUT_SCRIPT)]),
            live: words.live_json(),
        }
    }
}

/// Returns the reasons to choose from. The reason of the filter is one of them even if only another
/// version knows it.
fn reasons<'a>(kind: &Kind<'a>, chosen: Option<&'a str>) -> Vec<&'a str> {
    let unknown = chosen.filter(|chosen| !kind.reasons.contains(chosen));
    kind.reasons.iter().copied().chain(unknown).collect()
}

fn count_text(kind: &Kind<'_>, counted_: Counted, has_filter: bool) -> String {
    let (lang, words) = (kind.lang, kind.words());
    let forms = if has_filter { &words.matching } else { &words.left };
    let count = usize::try_from(counted_.count).unwrap_or(usize::MAX);
    let text = counted(lang, forms, count);
    if counted_.is_exact {
        return text;
    }
    let number = lang.number(counted_.count);
    text.replacen(&number, &fill(words.at_least, &number), 1)
}

impl<'a> RowView<'a> {
    fn of(kind: &Kind<'_>, row: &'a RejectedRow) -> Self {
        let violations = &row.violations.0;
        let hidden = violations.len().saturating_sub(MAX_LISTED_VIOLATIONS);
        let listed = violations.iter().take(MAX_LISTED_VIOLATIONS);
        Self {
            href: rejected_path(&row.id()),
            position: position(&row.id()),
            at: row.rejected_at,
            reason: &row.reason,
            rules: listed.map(|one| RuleView::of(kind, one, None)).collect(),
            more: (hidden > 0).then(|| counted(kind.lang, &kind.words().more_violations, hidden)),
            state: state(kind.words(), row),
        }
    }
}

fn state(words: &RejectedWords, row: &RejectedRow) -> Option<(&'static str, &'static str)> {
    let replays = row.replays_in_order();
    let replayed = replays.last().map(|latest| match latest.outcome {
        Some(Outcome::Accepted) => (words.was_accepted, "good"),
        Some(Outcome::Rejected) => (words.was_rejected, "warn"),
        None => (words.was_sent, ""),
    });
    // The note of an operator says more than an earlier replay.
    let is_noted = row.settled_why.is_some();
    if is_noted { Some((words.settled, "good")) } else { replayed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Lang;

    const TEXTS: KindTexts =
        KindTexts { list_title: "", list_text: "", record_title: "", edited: "" };

    fn kind(lang: Lang) -> Kind<'static> {
        Kind { lang, texts: &TEXTS, reasons: &[], russian: |_| None, topic: "orders" }
    }

    #[test]
    fn an_unknown_reason_of_the_filter_can_be_chosen() {
        let kind = Kind { reasons: &["blank", "missing"], ..kind(Lang::En) };
        assert_eq!(reasons(&kind, None), ["blank", "missing"]);
        assert_eq!(reasons(&kind, Some("blank")), ["blank", "missing"]);
        assert_eq!(reasons(&kind, Some("brand_new")), ["blank", "missing", "brand_new"]);
    }

    #[test]
    fn a_count_says_whether_it_is_exact() {
        let text = |lang, count, is_exact, has_filter| {
            count_text(&kind(lang), Counted { count, is_exact }, has_filter)
        };
        assert_eq!(text(Lang::En, 1, true, true), "1 record matches");
        assert_eq!(text(Lang::En, 10_000, false, false), "at least 10,000 records are left to do");
        assert_eq!(text(Lang::Ru, 2, true, false), "Осталось разобрать 2 записи");
        assert_eq!(text(Lang::Ru, 5, false, true), "Подходит не менее 5 записей");
    }
}
