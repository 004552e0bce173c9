//! The list of rejected records, and the results of a replay of many.

use std::sync::LazyLock;

use askama::Template;
use axum::{extract::State, response::Response};
use chassis::{
    http::{Parameters, actor::By, problem::Problem},
    rejected::{
        Counted, Filter, RejectedQuery, calls::RejectedList, handlers::RejectingService as _,
        replays,
    },
    web::{
        Reader,
        rejected::{Kind, ListView, ResultsView},
    },
};
use http::StatusCode;

use super::{
    Frame, PageState,
    messages::{Dependency, rejected_unavailable},
    render, violation_words,
    words::Words,
};
use crate::order::violation::Code;

/// The codes for which an order can be rejected.
static REASONS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| Code::ALL.iter().map(|code| code.as_str()).collect());

/// `GET /rejected`
pub(crate) async fn list(
    State(state): State<PageState>,
    Parameters(query): Parameters<RejectedQuery>,
    reader: Reader,
) -> Result<Response, Problem> {
    match query.find(&state.api.pool).await {
        Ok(list) => {
            let frame = Frame::load(&state, &reader).await;
            // Every page has the number of those that are left.
            let count = if list.filter == Filter::default() {
                frame.left()
            } else {
                list.count(&state.api.pool).await
            };
            Ok(reader.send(StatusCode::OK, rejected(&frame, &list, count)))
        }
        Err(problem) if problem.is_transient() => {
            Ok(unavailable(&state, &reader, Dependency::Database, reader.here()))
        }
        Err(problem) => Err(problem),
    }
}

/// `POST /rejected/replay`, from a form.
pub(crate) async fn replay_many(
    State(state): State<PageState>,
    Parameters(query): Parameters<RejectedQuery>,
    By(by): By,
    reader: Reader,
) -> Result<Response, Problem> {
    match replays::replay(&state.api.pool, state.api.sender(by.as_ref()), query).await {
        Ok(replayed) => {
            let frame = Frame::load(&state, &reader).await;
            let page = ResultsView::of(&kind(&frame, &state.api.topics.orders), &replayed);
            let page =
                ResultsTemplate { frame: &frame, words: frame.words(), tab: "rejected", page };
            Ok(reader.send(StatusCode::OK, render(&page)))
        }
        Err(problem) if problem.is_transient() => {
            Ok(unavailable(&state, &reader, Dependency::of(&problem), "/rejected"))
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

/// Returns the records of this service, whose replays are sent to `topic`.
pub(super) fn kind<'a>(frame: &Frame<'_>, topic: &'a str) -> Kind<'a> {
    Kind {
        lang: frame.lang,
        texts: &frame.words().rejected_kind,
        reasons: &REASONS,
        russian: violation_words::russian,
        topic,
    }
}

pub(super) fn rejected(frame: &Frame<'_>, list: &RejectedList, count: Option<Counted>) -> String {
    // The list shows no position of a replay.
    let page = ListView::of(&kind(frame, ""), list, count);
    render(&ListTemplate { frame, words: frame.words(), tab: "rejected", page })
}

#[derive(Template)]
#[template(path = "rejected.html")]
struct ListTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    page: ListView<'a>,
}

#[derive(Template)]
#[template(path = "replayed.html")]
struct ResultsTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    page: ResultsView,
}
