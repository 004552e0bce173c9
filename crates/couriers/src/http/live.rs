//! The board's figures as server-sent events. Each event contains all figures, so a client that
//! reconnects needs only the next event; there is no history to resume. With `?flow`, the stream has
//! the samples of the [flow](chassis::flow) and nothing else.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use chassis::{
    flow,
    http::{Parameters, problem::Problem},
};
use futures_util::{StreamExt, stream};
use http::header;
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
        Some((Ok::<_, Infallible>(event), (place, watcher)))
    });
    // Without this the open streams would keep the HTTP server from ending at the shutdown.
    let stream = boards.take_until(state.shutdown.cancelled_owned());
    Ok((
        // The second header turns off the buffering of nginx, which would delay the events.
        [
            (header::CACHE_CONTROL, "no-store"),
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ],
        Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))),
    )
        .into_response())
}
