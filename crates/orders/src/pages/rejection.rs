//! The page of one rejected record, with its bytes, its replays, and the form that replays it.

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use chassis::{
    http::{BodyWithin, Id, Parameters, problem::Problem},
    rejected::{RejectedRecord, Replay, Stored, calls},
    web::{
        Lang, MAX_TEXT_BYTES, Reader, TextOrHex, machine_time, time_markup,
        words::{BytesWords, counted},
    },
};
use http::StatusCode;

use super::{
    Frame, PageState,
    messages::{self, Dependency},
    position,
    rejected::unavailable,
    render,
    violation_words::violation,
    words::Words,
};
use crate::http::{WaitQuery, rejected::send_again, rejected_path};

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

/// `POST /rejected/{id}/replay`: sends the record as received, or the request's body instead.
pub(crate) async fn replay(
    State(state): State<PageState>,
    Id(id): Id,
    Parameters(query): Parameters<WaitQuery>,
    reader: Reader,
    BodyWithin(body): BodyWithin<{ calls::MAX_REPLAY_KIB }>,
) -> Result<Response, Problem> {
    let wait = query.wait()?;
    let row = match calls::find(&state.api.pool, &id).await {
        Ok(row) => row,
        Err(problem) => return Ok(not_found(&state, &reader, &id, &problem).await),
    };
    let path = rejected_path(&row.id().to_string());
    match send_again(&state.api, &row, &body, wait).await {
        Ok(_) => Ok(Redirect::to(&path).into_response()),
        Err(problem) if problem.is_transient() => {
            Ok(unavailable(&state, &reader, Dependency::Kafka, &path))
        }
        Err(problem) => Err(problem),
    }
}

async fn not_found(state: &PageState, reader: &Reader, id: &str, problem: &Problem) -> Response {
    if problem.is_transient() {
        return unavailable(state, reader, Dependency::Database, &rejected_path(id));
    }
    let frame = Frame::load(state, reader).await;
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::NOT_FOUND);
    reader.send(status, messages::no_rejection(&frame, id))
}

/// The page of a record. A replay is sent to `orders_topic`.
pub(super) fn rejection(frame: &Frame<'_>, row: &RejectedRecord, orders_topic: &str) -> String {
    let (lang, words, bytes) = (frame.lang, frame.words(), BytesWords::of(frame.lang));
    let id = row.id().to_string();
    let path = rejected_path(&id);
    let (violations, value) = (&row.violations.0, row.value.as_ref());
    render(&RejectionTemplate {
        frame,
        words,
        tab: "rejected",
        id,
        reason: &row.reason,
        position: position(&row.topic, row.partition, row.offset),
        at: time_markup(lang, row.rejected_at),
        rules_title: counted(lang, &words.broken_rules, violations.len()),
        rules: violations
            .iter()
            .map(|one| BrokenRule {
                pointer: &one.pointer,
                code: &one.code,
                words: violation(lang, one).to_owned(),
            })
            .collect(),
        size: value.map(|value| counted(lang, &bytes.bytes, length(value))),
        key: row.key.as_ref().map(|key| TextOrHex::of(lang, key)),
        value: value.map(|value| TextOrHex::of(lang, value)),
        headers: header_lines(lang, row),
        headers_left_out: row
            .headers_left_out
            .map(|length| counted(lang, &bytes.headers_left_out, as_usize(length))),
        only_a_new_body: row.is_cut().then_some(bytes.only_a_new_body),
        editable: editable(row),
        replays: row
            .replays_in_order()
            .iter()
            .map(|replay| ReplayLine::of(lang, replay, orders_topic))
            .collect(),
        json_href: format!("{path}?format=json"),
        // The wait lets the next page show the replay, which comes back through Kafka.
        replay_href: format!("{path}/replay?wait=2s"),
    })
}

#[derive(Template)]
#[template(path = "rejection.html")]
struct RejectionTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    id: String,
    reason: &'a str,
    position: String,
    at: String,
    rules_title: String,
    rules: Vec<BrokenRule<'a>>,
    size: Option<String>,
    key: Option<TextOrHex>,
    value: Option<TextOrHex>,
    headers: Vec<HeaderLine<'a>>,
    headers_left_out: Option<String>,
    /// The note that the record can only be replayed with a new body, if that is so.
    only_a_new_body: Option<&'static str>,
    /// The value, if it is text and short enough for a form; empty if only a part of it is stored.
    editable: Option<&'a str>,
    replays: Vec<ReplayLine>,
    json_href: String,
    replay_href: String,
}

/// Returns the length of a key or a value as it was received.
fn length(stored: &Stored) -> usize {
    stored.whole.as_ref().map_or(stored.bytes.len(), |whole| as_usize(whole.length))
}

fn as_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

fn editable(record: &RejectedRecord) -> Option<&str> {
    match &record.value {
        Some(value) if value.is_cut() => Some(""),
        Some(value) => value.text().filter(|text| text.len() <= MAX_TEXT_BYTES),
        None => record.is_cut().then_some(""),
    }
}

struct HeaderLine<'a> {
    name: &'a str,
    value: Option<String>,
}

fn header_lines(lang: Lang, record: &RejectedRecord) -> Vec<HeaderLine<'_>> {
    let headers = record.headers.iter().flatten();
    headers
        .map(|header| {
            let value = header.value.clone();
            let shown = value.map(|bytes| TextOrHex::of(lang, &Stored { bytes, whole: None }).text);
            HeaderLine { name: &header.name, value: shown }
        })
        .collect()
}

struct BrokenRule<'a> {
    pointer: &'a str,
    code: &'a str,
    words: String,
}

struct ReplayLine {
    words: &'static str,
    machine: String,
    exact: String,
    position: String,
}

impl ReplayLine {
    fn of(lang: Lang, replay: &Replay, orders_topic: &str) -> Self {
        let words = Words::of(lang);
        Self {
            words: if replay.edited { words.replayed_edited } else { words.replayed_as_is },
            machine: machine_time(replay.at),
            exact: lang.exact_time(replay.at),
            position: position(orders_topic, replay.partition, replay.offset),
        }
    }
}
