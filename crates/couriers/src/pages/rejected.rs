//! The pages of rejected status records: the list, one record, and their forms. Everything except
//! editing and notes works without JavaScript.

use std::sync::LazyLock;

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use chassis::{
    http::{BodyWithin, Id, Parameters, WaitQuery, actor::By, problem::Problem, problems},
    postgres::transaction::Fault,
    rejected::{
        Counted, RejectedQuery, Settlement,
        calls::{self, RejectedList},
        handlers::{NoteBody, RejectingService as _},
        replays, settlement,
    },
    web::{
        Reader,
        rejected::{CheckView, Kind, ListView, RecordView, ResultsView, rejected_path},
    },
};
use events::EVENT_RULES;
use http::StatusCode;

use super::{
    Frame, PageState, message,
    rejected_words::{RejectedWords, russian},
    render,
    words::Words,
};
use crate::http::ApiState;

/// The codes for which a status record can be rejected.
static REASONS: LazyLock<Vec<&'static str>> = LazyLock::new(reasons);

pub(super) fn reasons() -> Vec<&'static str> {
    let mut reasons: Vec<_> = EVENT_RULES.iter().map(|(code, _)| *code).collect();
    // Two rules have the code `too_long`, one after the other.
    reasons.dedup();
    reasons.extend(Fault::CODES);
    reasons
}

/// `GET /rejected`
pub(crate) async fn list(
    State(state): State<PageState>,
    Parameters(query): Parameters<RejectedQuery>,
    reader: Reader,
) -> Result<Response, Problem> {
    let frame = Frame::of(&state, &reader);
    match query.find(&state.api.pool).await {
        Ok(list) => {
            let count = list.count(&state.api.pool).await;
            Ok(reader.send(StatusCode::OK, list_page(&frame, &list, count)))
        }
        Err(problem) if problem.is_transient() => Ok(unavailable(frame, &reader, &problem)),
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
    let frame = Frame::of(&state, &reader);
    match replays::replay(&state.api.pool, state.api.sender(by.as_ref()), query).await {
        Ok(replayed) => {
            let page = ResultsView::of(&kind(&frame, &state.api.status_topic), &replayed);
            let page =
                ResultsTemplate { frame: &frame, words: frame.words(), tab: "rejected", page };
            Ok(reader.send(StatusCode::OK, render(&page)))
        }
        Err(problem) if problem.is_transient() => Ok(unavailable(frame, &reader, &problem)),
        Err(problem) => Err(problem),
    }
}

/// `GET /rejected/{id}`
pub(crate) async fn get(State(state): State<PageState>, Id(id): Id, reader: Reader) -> Response {
    let frame = Frame::of(&state, &reader);
    match calls::find(&state.api.pool, &id).await {
        Ok(record) => {
            let page = RecordView::of(&kind(&frame, &state.api.status_topic), &record);
            let page =
                RecordTemplate { frame: &frame, words: frame.words(), tab: "rejected", page };
            reader.send(StatusCode::OK, render(&page))
        }
        Err(problem) => not_found(frame, &reader, &problem),
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
    let page = CheckView::of(&kind(&Frame::of(&state, &reader), ""), &checked);
    Ok(reader.send(StatusCode::OK, render(&CheckTemplate { page })))
}

/// `POST /rejected/{id}/replay`, from a form.
pub(crate) async fn replay(
    State(state): State<PageState>,
    Id(id): Id,
    Parameters(query): Parameters<WaitQuery>,
    By(by): By,
    reader: Reader,
    BodyWithin(body): BodyWithin<{ calls::MAX_REPLAY_KIB }>,
) -> Result<Response, Problem> {
    let wait = query.wait()?;
    let frame = Frame::of(&state, &reader);
    let record = match calls::find(&state.api.pool, &id).await {
        Ok(record) => record,
        Err(problem) => return Ok(not_found(frame, &reader, &problem)),
    };
    let sender = state.api.sender(by.as_ref());
    match calls::replay(&state.api.pool, sender, &record, &body, ApiState::key_of, wait).await {
        Ok(_) => Ok(Redirect::to(&rejected_path(&record.id())).into_response()),
        Err(problem) if problem.is_transient() => Ok(unavailable(frame, &reader, &problem)),
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
        Err(problem) => not_found(Frame::of(state, reader), reader, &problem),
    }
}

fn not_found(frame: Frame<'_>, reader: &Reader, problem: &Problem) -> Response {
    if problem.is_transient() {
        return unavailable(frame, reader, problem);
    }
    let texts = RejectedWords::of(frame.lang);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::NOT_FOUND);
    reader.send(status, message(frame, texts.not_found_title, texts.not_found_text))
}

/// The answer while a server does not answer.
fn unavailable(frame: Frame<'_>, reader: &Reader, problem: &Problem) -> Response {
    let texts = RejectedWords::of(frame.lang);
    let is_kafka = problem.uri == problems::KAFKA_UNAVAILABLE.uri;
    let text = if is_kafka { texts.not_sent } else { texts.database_unavailable };
    let page = message(frame, texts.unavailable_title, text);
    reader.send(StatusCode::SERVICE_UNAVAILABLE, page)
}

/// Returns the records of this service, whose replays are sent to `topic`.
fn kind<'a>(frame: &Frame<'_>, topic: &'a str) -> Kind<'a> {
    let texts = &RejectedWords::of(frame.lang).kind;
    Kind { lang: frame.lang, texts, reasons: &REASONS, russian, topic }
}

fn list_page(frame: &Frame<'_>, list: &RejectedList, count: Option<Counted>) -> String {
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

#[derive(Template)]
#[template(path = "rejection.html")]
struct RecordTemplate<'a> {
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
