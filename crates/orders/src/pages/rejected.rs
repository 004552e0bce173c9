//! The list of rejected records.

use askama::Template;
use axum::{extract::State, response::Response};
use chassis::{
    http::{Parameters, path_segment, problem::Problem},
    rejected::{
        RejectedRow,
        calls::{RejectedList, RejectedQuery},
    },
    web::{Lang, Reader, words::counted},
};
use http::StatusCode;
use time::OffsetDateTime;

use super::{
    Frame, PageState,
    messages::{Dependency, rejected_unavailable},
    position, render,
    violation_words::violation,
    words::Words,
};
use crate::{http::rejected_path, order::violation::Code};

/// The most violations of a record in the list.
const MAX_LISTED_VIOLATIONS: usize = 3;

/// `GET /rejected`
pub(crate) async fn list(
    State(state): State<PageState>,
    Parameters(query): Parameters<RejectedQuery>,
    reader: Reader,
) -> Result<Response, Problem> {
    match query.find(&state.api.pool).await {
        Ok(list) => {
            let frame = Frame::load(&state, &reader).await;
            Ok(reader.send(StatusCode::OK, rejected(&frame, &list)))
        }
        Err(problem) if problem.is_transient() => {
            Ok(unavailable(&state, &reader, Dependency::Database, reader.here()))
        }
        Err(problem) => Err(problem),
    }
}

/// The answer while rejected records cannot be shown or sent again; `again` is the address to try
/// again.
pub(super) fn unavailable(
    state: &PageState,
    reader: &Reader,
    dependency: Dependency,
    again: &str,
) -> Response {
    let frame = Frame::without_lists(state, reader);
    let page = rejected_unavailable(&frame, dependency, again);
    reader.send(StatusCode::SERVICE_UNAVAILABLE, page)
}

pub(super) fn rejected(frame: &Frame<'_>, list: &RejectedList) -> String {
    let words = frame.words();
    render(&RejectedTemplate {
        frame,
        words,
        tab: "rejected",
        reason: list.reason.as_deref(),
        reasons: Code::ALL.iter().map(|code| code.as_str()).collect(),
        rows: list.rows.iter().map(|row| Row::of(frame.lang, row)).collect(),
        empty: if list.reason.is_some() {
            words.nothing_for_reason
        } else {
            words.nothing_rejected
        },
        older: list.next.as_deref().map(|after| older_href(list, after)),
    })
}

fn older_href(list: &RejectedList, after: &str) -> String {
    let mut href = "/rejected?".to_owned();
    for (name, value) in [("reason", &list.reason), ("key", &list.key)] {
        if let Some(value) = value {
            href += &format!("{name}={}&", path_segment(value));
        }
    }
    href + "after=" + &path_segment(after)
}

#[derive(Template)]
#[template(path = "rejected.html")]
struct RejectedTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    reason: Option<&'a str>,
    reasons: Vec<&'static str>,
    rows: Vec<Row<'a>>,
    empty: &'static str,
    older: Option<String>,
}

struct Row<'a> {
    href: String,
    position: String,
    at: OffsetDateTime,
    reason: &'a str,
    /// Pointer and rule.
    first: Vec<(&'a str, String)>,
    more: Option<String>,
}

impl<'a> Row<'a> {
    fn of(lang: Lang, row: &'a RejectedRow) -> Self {
        let violations = &row.violations.0;
        let first = violations.iter().take(MAX_LISTED_VIOLATIONS);
        let hidden = violations.len().saturating_sub(MAX_LISTED_VIOLATIONS);
        Self {
            href: rejected_path(&row.id().to_string()),
            position: position(&row.topic, row.partition, row.offset),
            at: row.rejected_at,
            reason: &row.reason,
            first: first
                .map(|one| (one.pointer.as_str(), violation(lang, one).to_owned()))
                .collect(),
            more: (hidden > 0).then(|| counted(lang, &Words::of(lang).more_violations, hidden)),
        }
    }
}
