//! Server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures_util::{Stream, StreamExt as _};
use http::header::{CACHE_CONTROL, HeaderName};
use tokio_util::sync::CancellationToken;

/// The interval of the comments that keep a connection without events open.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Answers with server-sent events, until `shutdown`.
pub fn event_stream(
    events: impl Stream<Item = Event> + Send + 'static,
    shutdown: CancellationToken,
) -> Response {
    // The stream may never end by itself, and the shutdown waits for open connections.
    let events = events.map(Ok::<_, Infallible>).take_until(shutdown.cancelled_owned());
    (
        [
            (CACHE_CONTROL, "no-store"),
            // nginx would otherwise collect the events before it sends them.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ],
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)),
    )
        .into_response()
}
