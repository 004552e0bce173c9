//! The feed as server-sent events. A client whose connection was cut sends the last id that it
//! received, and gets the events after it, or `reset` when they are no longer kept.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
};
use chassis::http::Parameters;
use events::OrderUid;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, header};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::ApiState;
use crate::lookup::live_feed::FeedEvent;

#[derive(Deserialize)]
pub(crate) struct LiveQuery {
    order_uid: Option<OrderUid>,
}

/// `GET /live`, or `GET /live?order_uid=…` to miss no status of this order.
pub(crate) async fn live(
    State(state): State<ApiState>,
    Parameters(query): Parameters<LiveQuery>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let watch = query.order_uid.map(|uid| state.feed.watch(uid));
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let events = events(&state, seen).inspect(move |_| {
        // The closure owns the watch, so that the watch lasts as long as the stream.
        let _ = &watch;
    });
    let stream = events.take_until(state.shutdown.cancelled_owned());
    (
        [
            (header::CACHE_CONTROL, "no-store"),
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ],
        Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))),
    )
}

fn events(
    state: &ApiState,
    seen: Option<&str>,
) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let epoch = state.feed.epoch;
    // An id of another process has no meaning here.
    let own_number = |id: &str| -> Option<u64> {
        let (of, number) = id.split_once('-')?;
        if of == epoch.to_string() { number.parse().ok() } else { None }
    };
    let (missed, receiver) = match seen {
        None => state.feed.subscribe(None),
        Some(id) => match own_number(id) {
            Some(number) => state.feed.subscribe(Some(number)),
            None => (None, state.feed.subscribe(None).1),
        },
    };
    let first = match missed {
        Some(missed) => missed.into_iter().map(|event| Ok(write(epoch, &event))).collect(),
        None => vec![Ok(reset())],
    };
    let rest = stream::unfold(receiver, move |mut receiver| async move {
        let event = match receiver.recv().await {
            Ok(event) => write(epoch, &event),
            Err(RecvError::Lagged(_)) => reset(),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), receiver))
    });
    stream::iter(first).chain(rest)
}

fn write(epoch: u32, event: &Arc<FeedEvent>) -> Event {
    Event::default().id(format!("{epoch}-{}", event.number)).event(event.name).data(&event.data)
}

/// The client missed events and has to load its list again.
fn reset() -> Event {
    Event::default().event("reset").data("{}")
}
