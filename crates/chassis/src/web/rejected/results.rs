//! The check of an edited record, and the results of a replay of many.

use super::{
    Kind, KindTexts, RejectedWords, address, list::REPLAYED_WITHOUT_SCRIPT, position, rejected_path,
};
use crate::{
    rejected::{
        calls::Checked,
        replays::{ReplayResult, Replayed, ReplayedRecord},
    },
    web::words::{counted, fill},
};

/// The check of an edited record: a part of its page.
pub struct CheckView {
    pub words: &'static RejectedWords,
    /// The number of violations, as a sentence; `None` if there is none.
    pub title: Option<String>,
    pub rules: Vec<CheckedRule>,
}

pub struct CheckedRule {
    pub pointer: String,
    pub code: String,
    pub text: String,
    /// The line and its text, if the violation has a place.
    pub place: Option<(usize, String)>,
}

impl CheckView {
    #[must_use]
    pub fn of(kind: &Kind<'_>, checked: &Checked) -> Self {
        let words = kind.words();
        let count = checked.violations.len();
        let rules = checked.violations.iter().map(|(violation, place)| CheckedRule {
            pointer: violation.pointer.clone(),
            code: violation.code.clone(),
            text: kind.violation(violation).to_owned(),
            place: place.map(|(line, column)| {
                let text = fill(words.line_and_column, line.to_string());
                (line, fill(&text, column.to_string()))
            }),
        });
        Self {
            words,
            title: (count > 0).then(|| counted(kind.lang, &words.invalid, count)),
            rules: rules.collect(),
        }
    }
}

/// The page after a replay of many records without JavaScript.
pub struct ResultsView {
    pub words: &'static RejectedWords,
    pub texts: &'static KindTexts,
    pub results: Vec<ResultView>,
    /// The address that replays the next records.
    pub next: Option<String>,
    /// The address of the list with the same filter.
    pub list: String,
}

pub struct ResultView {
    pub href: String,
    pub position: String,
    pub text: &'static str,
    pub tone: &'static str,
    /// The address of the rejected record that the replay is.
    pub rejected_as: Option<(String, String)>,
    pub detail: Option<String>,
}

impl ResultsView {
    #[must_use]
    pub fn of(kind: &Kind<'_>, replayed: &Replayed) -> Self {
        let words = kind.words();
        let filter = &replayed.filter;
        let result = |one: &ReplayedRecord| {
            let (text, tone) = match &one.result {
                ReplayResult::Accepted => (words.was_accepted, "good"),
                ReplayResult::Rejected(_) => (words.was_rejected, "warn"),
                ReplayResult::Sent => (words.was_sent, ""),
                ReplayResult::NotSent(_) => (words.not_sent, "bad"),
            };
            ResultView {
                href: rejected_path(&one.id),
                position: position(&one.id),
                text,
                tone,
                rejected_as: match &one.result {
                    ReplayResult::Rejected(id) => Some((rejected_path(id), position(id))),
                    _ => None,
                },
                detail: match &one.result {
                    ReplayResult::NotSent(problem) => Some(problem.detail.clone()),
                    _ => None,
                },
            }
        };
        Self {
            words,
            texts: kind.texts,
            results: replayed.results.iter().map(result).collect(),
            next: replayed.next.as_deref().map(|after| {
                let more = [("limit", REPLAYED_WITHOUT_SCRIPT), ("after", after)];
                address("/rejected/replay", filter, &more)
            }),
            list: address("/rejected", filter, &[]),
        }
    }
}
