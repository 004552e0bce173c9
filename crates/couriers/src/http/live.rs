//! The board's figures as server-sent events. Each event is the newest state, so that a client whose
//! connection was cut needs only the next one.

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
    let stream = boards.take_until(state.shutdown.cancelled_owned());
    (
        [
            (header::CACHE_CONTROL, "no-store"),
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ],
        Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))),
    )
}
