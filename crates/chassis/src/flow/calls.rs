//! `GET /flow.json`, and the newest samples as server-sent events.

use axum::{
    extract::State,
    response::{IntoResponse, Response, sse::Event},
};
use futures_util::stream;
use http::header;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{Flow, catalogue::Range};
use crate::http::{
    Parameters, StreamPlace, event_stream, problem::Problem, problems::BAD_PARAMETER,
};

#[derive(Debug, Deserialize)]
pub struct FlowQuery {
    range: Option<String>,
}

impl FlowQuery {
    /// Returns the range, which is the last 15 minutes by default.
    pub fn range(&self) -> Result<Range, Problem> {
        let Some(text) = &self.range else { return Ok(Range::Minutes) };
        Range::parse(text)
            .ok_or_else(|| BAD_PARAMETER.with("the parameter range must be 15m, 24h or 7d"))
    }
}

/// `GET /flow.json`
pub async fn get(
    State(flow): State<Flow>,
    Parameters(query): Parameters<FlowQuery>,
) -> Result<Response, Problem> {
    let range = query.range()?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, flow.json(range).to_string()).into_response())
}

/// Answers `GET /live?flow`: an event `flow` for each sample, until `shutdown`. A slow client gets
/// only the newest one.
pub fn live(flow: &Flow, place: StreamPlace, shutdown: CancellationToken) -> Response {
    // The place lasts as long as the stream.
    let watching = (place, flow.watch());
    let samples = stream::unfold(watching, |(place, mut newest)| async move {
        newest.changed().await.ok()?;
        let event = Event::default().event("flow").data(&**newest.borrow_and_update());
        Some((event, (place, newest)))
    });
    event_stream(samples, shutdown)
}
