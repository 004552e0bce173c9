//! The board's figures as server-sent events. Each event contains all figures, so a client that
//! reconnects needs only the next event; there is no history to resume.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{StreamExt, stream};
use http::header;

use super::ApiState;

/// `GET /live`
pub(crate) async fn live(State(state): State<ApiState>) -> impl IntoResponse {
    let boards = stream::unfold(state.board.watch(), |mut watcher| async move {
        let board = watcher.next().await?;
        Some((Ok::<_, Infallible>(Event::default().event("board").data(&*board)), watcher))
    });
    // Without this the open streams would keep the HTTP server from ending at the shutdown.
    let stream = boards.take_until(state.shutdown.cancelled_owned());
    (
        // The second header turns off the buffering of nginx, which would delay the events.
        [
            (header::CACHE_CONTROL, "no-store"),
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ],
        Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))),
    )
}
