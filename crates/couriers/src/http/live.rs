//! The board's figures as server-sent events. Each event contains all figures, so a client that
//! reconnects needs only the next event; there is no history to resume. With `?flow`, the stream has
//! the samples of the [flow](chassis::flow) and nothing else.

use axum::{
    extract::State,
    response::{Response, sse::Event},
};
use chassis::{
    flow,
    http::{Parameters, event_stream, problem::Problem},
};
use futures_util::stream;
use serde::Deserialize;

use super::ApiState;

#[derive(Deserialize)]
pub(crate) struct LiveQuery {
    flow: Option<String>,
}

/// `GET /live`, or `GET /live?flow`
pub(crate) async fn live(
    State(state): State<ApiState>,
    Parameters(query): Parameters<LiveQuery>,
) -> Result<Response, Problem> {
    // The place lasts as long as the stream.
    let place = state.streams.take()?;
    if query.flow.is_some() {
        return Ok(flow::calls::live(&state.flow, place, state.shutdown));
    }
    let watching = (place, state.board.watch());
    let boards = stream::unfold(watching, |(place, mut watcher)| async move {
        let board = watcher.next().await?;
        let event = Event::default().event("board").data(&*board);
        Some((event, (place, watcher)))
    });
    Ok(event_stream(boards, state.shutdown))
}
