//! `GET /live`: the board's figures as server-sent events. Each event tells the newest state, so a
//! page that was cut off needs nothing but the next one.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State as Extract,
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{StreamExt, stream};
use http::header;

use super::State;

pub(super) async fn live(Extract(state): Extract<State>) -> impl IntoResponse {
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
