//! `GET /live`: the live feed as server-sent events. A client that reconnects sends the last id
//! that it received, and gets the events after it, or `reset` if they are no longer kept. The
//! events are made in [`live_feed`](crate::lookup::live_feed). With `?flow`, the stream has the
//! samples of the [flow](chassis::flow) and nothing else.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{Response, sse::Event},
};
use chassis::{
    flow,
    http::{Parameters, event_stream, problem::Problem},
};
use events::OrderUid;
use futures_util::{Stream, StreamExt, stream};
use http::HeaderMap;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::ApiState;
use crate::lookup::live_feed::FeedEvent;

#[derive(Deserialize)]
pub(crate) struct LiveQuery {
    order_uid: Option<OrderUid>,
    flow: Option<String>,
}

/// `GET /live`, or `GET /live?order_uid=…` to get every status of this order, or `GET /live?flow`.
pub(crate) async fn live(
    State(state): State<ApiState>,
    Parameters(query): Parameters<LiveQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = state.streams.take()?;
    if query.flow.is_some() {
        return Ok(flow::calls::live(&state.flow, place, state.shutdown));
    }
    // Watched before the subscription, so every status that comes after the subscription is sent.
    let watch = query.order_uid.map(|uid| state.feed.watch(uid));
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let events = events(&state, seen).inspect(move |_| {
        // The closure owns them, so that they last as long as the stream.
        let _ = (&watch, &place);
    });
    Ok(event_stream(events, state.shutdown))
}

fn events(state: &ApiState, seen: Option<&str>) -> impl Stream<Item = Event> + use<> {
    let epoch = state.feed.epoch;
    // Each process counts its own events. The number of another process, such as one before a
    // restart, cannot be compared, and the client gets `reset`.
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
        Some(missed) => missed.into_iter().map(|event| write(epoch, &event)).collect(),
        None => vec![reset()],
    };
    let rest = stream::unfold(receiver, move |mut receiver| async move {
        let event = match receiver.recv().await {
            Ok(event) => write(epoch, &event),
            // The client was too slow and events were overwritten. The receiver continues with the
            // oldest event that is kept; the client loads its lists again.
            Err(RecvError::Lagged(_)) => reset(),
            Err(RecvError::Closed) => return None,
        };
        Some((event, receiver))
    });
    stream::iter(first).chain(rest)
}

fn write(epoch: u32, event: &Arc<FeedEvent>) -> Event {
    Event::default().id(format!("{epoch}-{}", event.number)).event(event.name).data(&event.data)
}

/// Returns the event that tells the client to load its lists again, because it missed events.
fn reset() -> Event {
    Event::default().event("reset").data("{}")
}
