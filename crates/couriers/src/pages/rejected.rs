//! The pages of rejected status records: the list, one record, and the form that replays it. They
//! work without JavaScript.

use std::time::Duration;

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use chassis::{
    http::{BodyWithin, Id, Parameters, path_segment, problem::Problem},
    postgres::transaction::Fault,
    rejected::{
        RejectedRecord, RejectedRow, Stored, Violation,
        calls::{self, RejectedList, RejectedQuery},
    },
    web::{
        Lang, Reader, TextOrHex, machine_time, time_markup,
        words::{BytesWords, counted},
    },
};
use events::EVENT_RULES;
use http::StatusCode;
use time::OffsetDateTime;

use super::{
    Frame, PageState, message,
    rejected_words::{RejectedWords, violation},
    render,
    words::Words,
};
use crate::http::rejected::send_again;

/// The longest wait for a replay to come back from Kafka, so that the next page shows it.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the codes for which a status record can be rejected.
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
        Ok(list) => Ok(reader.send(StatusCode::OK, list_page(&frame, &list))),
        Err(problem) if problem.is_transient() => Ok(database_unavailable(frame, &reader)),
        Err(problem) => Err(problem),
    }
}

/// `GET /rejected/{id}`
pub(crate) async fn get(State(state): State<PageState>, Id(id): Id, reader: Reader) -> Response {
    let frame = Frame::of(&state, &reader);
    match calls::find(&state.api.pool, &id).await {
        Ok(record) => {
            let page = record_page(&frame, &record, &state.api.status_topic);
            reader.send(StatusCode::OK, page)
        }
        Err(problem) => not_found(frame, &reader, &problem),
    }
}

/// `POST /rejected/{id}/replay`, from a form.
pub(crate) async fn replay(
    State(state): State<PageState>,
    Id(id): Id,
    reader: Reader,
    BodyWithin(body): BodyWithin<{ calls::MAX_REPLAY_KIB }>,
) -> Result<Response, Problem> {
    let frame = Frame::of(&state, &reader);
    let record = match calls::find(&state.api.pool, &id).await {
        Ok(record) => record,
        Err(problem) => return Ok(not_found(frame, &reader, &problem)),
    };
    match send_again(&state.api, &record, &body).await {
        Ok(_) => {
            calls::wait_for_replay(&state.api.pool, &record, RETURN_TIMEOUT).await;
            Ok(Redirect::to(&path(&record)).into_response())
        }
        Err(problem) if problem.is_transient() => {
            let texts = RejectedWords::of(frame.lang);
            let page = message(frame, texts.unavailable_title, texts.not_sent);
            Ok(reader.send(StatusCode::SERVICE_UNAVAILABLE, page))
        }
        Err(problem) => Err(problem),
    }
}

fn not_found(frame: Frame<'_>, reader: &Reader, problem: &Problem) -> Response {
    if problem.is_transient() {
        return database_unavailable(frame, reader);
    }
    let texts = RejectedWords::of(frame.lang);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::NOT_FOUND);
    reader.send(status, message(frame, texts.not_found_title, texts.not_found_text))
}

fn database_unavailable(frame: Frame<'_>, reader: &Reader) -> Response {
    let texts = RejectedWords::of(frame.lang);
    let page = message(frame, texts.unavailable_title, texts.database_unavailable);
    reader.send(StatusCode::SERVICE_UNAVAILABLE, page)
}

/// Returns the address of a record's page.
fn path(row: &RejectedRow) -> String {
    format!("/rejected/{}", path_segment(&row.id().to_string()))
}

/// Returns a position as pages show it, such as `order.status.changed/3 @ 18204`.
fn position(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}/{partition} @ {offset}")
}

/// A violated rule as a page shows it.
struct RuleView<'a> {
    pointer: &'a str,
    code: &'a str,
    text: String,
}

fn rules(lang: Lang, violations: &[Violation]) -> Vec<RuleView<'_>> {
    let rules = violations.iter().map(|one| RuleView {
        pointer: &one.pointer,
        code: &one.code,
        text: violation(lang, one).to_owned(),
    });
    rules.collect()
}

fn list_page(frame: &Frame<'_>, list: &RejectedList) -> String {
    let texts = RejectedWords::of(frame.lang);
    render(&ListTemplate {
        frame,
        words: frame.words(),
        texts,
        tab: "rejected",
        reason: list.reason.as_deref(),
        reasons: reasons(),
        empty: if list.reason.is_some() { texts.none_for_reason } else { texts.none },
        rows: list.rows.iter().map(|row| RowView::of(frame.lang, row)).collect(),
        older: list.next.as_deref().map(|after| older_href(list, after)),
    })
}

fn older_href(list: &RejectedList, after: &str) -> String {
    let filters = [("reason", &list.reason), ("key", &list.key)];
    let filters = filters
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}&", path_segment(value.as_deref()?))));
    format!("/rejected?{}after={}", filters.collect::<String>(), path_segment(after))
}

#[derive(Template)]
#[template(path = "rejected.html")]
struct ListTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    texts: &'static RejectedWords,
    tab: &'static str,
    reason: Option<&'a str>,
    reasons: Vec<&'static str>,
    rows: Vec<RowView<'a>>,
    empty: &'static str,
    older: Option<String>,
}

struct RowView<'a> {
    href: String,
    position: String,
    at: OffsetDateTime,
    reason: &'a str,
    rules: Vec<RuleView<'a>>,
}

impl<'a> RowView<'a> {
    fn of(lang: Lang, row: &'a RejectedRow) -> Self {
        Self {
            href: path(row),
            position: position(&row.topic, row.partition, row.offset),
            at: row.rejected_at,
            reason: &row.reason,
            rules: rules(lang, &row.violations.0),
        }
    }
}

/// Renders the page of a record. A replay is sent to `status_topic`.
fn record_page(frame: &Frame<'_>, record: &RejectedRecord, status_topic: &str) -> String {
    let lang = frame.lang;
    let (texts, words) = (RejectedWords::of(lang), BytesWords::of(lang));
    let show = |stored: &Option<Stored>| stored.as_ref().map(|it| TextOrHex::of(lang, it));
    let headers = record.headers.iter().flatten().map(|header| {
        let value = header.value.clone().map(|bytes| Stored { bytes, whole: None });
        (header.name.as_str(), show(&value).map_or_else(|| "–".to_owned(), |shown| shown.text))
    });
    let replays = record.replays_in_order();
    let replays = replays.iter().map(|replay| ReplayView {
        text: if replay.edited { texts.replayed_edited } else { texts.replayed_as_is },
        machine: machine_time(replay.at),
        exact: lang.exact_time(replay.at),
        position: position(status_topic, replay.partition, replay.offset),
    });
    render(&RecordTemplate {
        frame,
        words: frame.words(),
        texts,
        tab: "rejected",
        id: record.id().to_string(),
        path: path(record),
        record,
        position: position(&record.topic, record.partition, record.offset),
        at: time_markup(lang, record.rejected_at),
        rules: rules(lang, &record.violations.0),
        key: show(&record.key),
        value: show(&record.value),
        headers: headers.collect(),
        headers_left_out: record.headers_left_out.map(|length| {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            counted(lang, &words.headers_left_out, length)
        }),
        replays: replays.collect(),
        only_a_new_body: record.is_cut().then_some(words.only_a_new_body),
    })
}

#[derive(Template)]
#[template(path = "rejection.html")]
struct RecordTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    texts: &'static RejectedWords,
    tab: &'static str,
    id: String,
    path: String,
    record: &'a RejectedRecord,
    position: String,
    at: String,
    rules: Vec<RuleView<'a>>,
    key: Option<TextOrHex>,
    value: Option<TextOrHex>,
    headers: Vec<(&'a str, String)>,
    headers_left_out: Option<String>,
    replays: Vec<ReplayView>,
    /// The note that the record can only be replayed with a new body, if that is so.
    only_a_new_body: Option<&'static str>,
}

struct ReplayView {
    text: &'static str,
    machine: String,
    exact: String,
    position: String,
}
