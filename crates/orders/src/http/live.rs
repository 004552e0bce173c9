//! `GET /live`, or `GET /live?order_uid=…` to miss no status of one order: the feed as server-sent
//! events. A page that was cut off sends the last id it has seen and gets what it missed, or `reset`
//! when that is no longer kept.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State as Extract,
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

use super::State;
use crate::lookup::live_feed::FeedEvent;

#[derive(Deserialize)]
pub(super) struct Wanted {
    order_uid: Option<OrderUid>,
}

pub(super) async fn live(
    Extract(state): Extract<State>,
    Parameters(wanted): Parameters<Wanted>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let watch = wanted.order_uid.map(|uid| state.feed.watch(uid));
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let events = events(&state, seen).inspect(move |_| {
        // It lasts as long as the stream.
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
    state: &State,
    seen: Option<&str>,
) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let epoch = state.feed.epoch;
    // An id of another process says nothing here.
    let of_ours = |id: &str| -> Option<u64> {
        let (of, number) = id.split_once('-')?;
        if of == epoch.to_string() { number.parse().ok() } else { None }
    };
    let (missed, receiver) = match seen {
        None => state.feed.subscribe(None),
        Some(id) => match of_ours(id) {
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

/// Something was missed: load the list again.
fn reset() -> Event {
    Event::default().event("reset").data("{}")
}
