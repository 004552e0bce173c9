//! The page of one rejected record, with the forms that replay, edit and settle it.

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use chassis::{
    http::{BodyWithin, Id, Parameters, actor::By, problem::Problem},
    rejected::{
        RejectedRecord, Settlement,
        calls::{self, Checked},
        handlers::{NoteBody, RejectingService as _},
        settlement,
    },
    web::{
        Reader,
        rejected::{CheckView, RecordView, rejected_path},
    },
};
use http::StatusCode;

use super::{
    Frame, PageState,
    messages::{self, Dependency},
    rejected::{kind, unavailable},
    render,
    words::Words,
};
use crate::http::{self as api, ApiState, WaitQuery};

/// `GET /rejected/{id}`
pub(crate) async fn get(State(state): State<PageState>, Id(id): Id, reader: Reader) -> Response {
    match calls::find(&state.api.pool, &id).await {
        Ok(row) => {
            let frame = Frame::load(&state, &reader).await;
            reader.send(StatusCode::OK, rejection(&frame, &row, &state.api.topics.orders))
        }
        Err(problem) => not_found(&state, &reader, &id, &problem).await,
    }
}

/// `POST /rejected/{id}/check`: the part of the page that shows the check of an edited record.
pub(crate) async fn check(
    State(state): State<PageState>,
    Id(id): Id,
    reader: Reader,
    BodyWithin(body): BodyWithin<{ calls::MAX_REPLAY_KIB }>,
) -> Result<Response, Problem> {
    let record = calls::find(&state.api.pool, &id).await?;
    let checked = calls::check(&record, &body, ApiState::rejection_of)?;
    let frame = Frame::without_lists(&state, &reader);
    Ok(reader.send(StatusCode::OK, check_part(&frame, &checked)))
}

/// `POST /rejected/{id}/replay`: sends the record as received, or the request's body instead.
pub(crate) async fn replay(
    State(state): State<PageState>,
    Id(id): Id,
    Parameters(query): Parameters<WaitQuery>,
    By(by): By,
    reader: Reader,
    BodyWithin(body): BodyWithin<{ calls::MAX_REPLAY_KIB }>,
) -> Result<Response, Problem> {
    let wait = query.wait()?;
    let row = match calls::find(&state.api.pool, &id).await {
        Ok(row) => row,
        Err(problem) => return Ok(not_found(&state, &reader, &id, &problem).await),
    };
    let sender = state.api.sender(by.as_ref());
    match calls::replay(&state.api.pool, sender, &row, &body, ApiState::key_of, wait).await {
        Ok(_) => Ok(Redirect::to(&rejected_path(&row.id())).into_response()),
        Err(problem) if problem.is_transient() => {
            Ok(unavailable(&state, &reader, Dependency::Kafka, &rejected_path(&row.id())))
        }
        Err(problem) => Err(problem),
    }
}

/// `POST /rejected/{id}/settle`
pub(crate) async fn settle(
    State(state): State<PageState>,
    Id(id): Id,
    By(by): By,
    reader: Reader,
    BodyWithin(body): NoteBody,
) -> Result<Response, Problem> {
    let note = settlement::parse_note(&body)?;
    let settlement = Settlement::Settle { by: by.as_ref(), note: &note };
    Ok(change(&state, &reader, &id, settlement).await)
}

/// `POST /rejected/{id}/reopen`
pub(crate) async fn reopen(State(state): State<PageState>, Id(id): Id, reader: Reader) -> Response {
    change(&state, &reader, &id, Settlement::Reopen).await
}

async fn change(
    state: &PageState,
    reader: &Reader,
    id: &str,
    settlement: Settlement<'_>,
) -> Response {
    match settlement::apply(&state.api.pool, id, settlement).await {
        Ok(row) => Redirect::to(&rejected_path(&row.id())).into_response(),
        Err(problem) => not_found(state, reader, id, &problem).await,
    }
}

async fn not_found(state: &PageState, reader: &Reader, id: &str, problem: &Problem) -> Response {
    if problem.is_transient() {
        return unavailable(state, reader, Dependency::Database, &api::rejected_path(id));
    }
    let frame = Frame::load(state, reader).await;
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::NOT_FOUND);
    reader.send(status, messages::no_rejection(&frame, id))
}

/// The page of a record. A replay is sent to `orders_topic`.
pub(super) fn rejection(frame: &Frame<'_>, row: &RejectedRecord, orders_topic: &str) -> String {
    let page = RecordView::of(&kind(frame, orders_topic), row);
    render(&RejectionTemplate { frame, words: frame.words(), tab: "rejected", page })
}

/// The check of an edited record, which a script puts into the page.
pub(super) fn check_part(frame: &Frame<'_>, checked: &Checked) -> String {
    render(&CheckTemplate { page: CheckView::of(&kind(frame, ""), checked) })
}

#[derive(Template)]
#[template(path = "rejection.html")]
struct RejectionTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    page: RecordView<'a>,
}

#[derive(Template)]
#[template(path = "check.html")]
struct CheckTemplate {
    page: CheckView,
}
