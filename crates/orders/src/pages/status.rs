//! Cancelling and completing an order from its page: the forms of readers without JavaScript.

use std::time::Duration;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use chassis::http::{Id, problem::Problem};
use events::{OrderStatus, OrderUid};
use http::HeaderMap;
use tokio::time::Instant;

use super::PageState;
use crate::{
    http::{
        ApiState,
        order::parse_uid,
        order_path,
        status::{CANCEL, COMPLETE, Change, find, publish},
    },
    status::history,
};

/// The longest wait for a published event to come back from Kafka, so that the page shows it.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// `POST /order/{order_uid}/cancel`
pub(crate) async fn cancel(
    State(state): State<PageState>,
    Id(asked): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    change(&state.api, &asked, CANCEL, &headers).await
}

/// `POST /order/{order_uid}/complete`
pub(crate) async fn complete(
    State(state): State<PageState>,
    Id(asked): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    change(&state.api, &asked, COMPLETE, &headers).await
}

async fn change(
    state: &ApiState,
    asked: &str,
    change: Change,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let uid = parse_uid(asked)?;
    let back = Redirect::to(&order_path(uid.as_str())).into_response();
    let current = find(state, &uid).await?;
    // If there is nothing to do, the page shows the reason.
    if current.status() < Some(change.status) {
        let event = publish(state, uid, &current, change, headers).await?;
        let reached = wait_for_status(state, &event.order_id, change.status);
        let _ = tokio::time::timeout(RETURN_TIMEOUT, reached).await;
    }
    Ok(back)
}

/// Waits until the order has at least this status, which this replica or another may store.
async fn wait_for_status(state: &ApiState, uid: &OrderUid, status: OrderStatus) {
    let mut poll = tokio::time::interval_at(Instant::now(), POLL_INTERVAL);
    loop {
        poll.tick().await;
        match history::find_state(&state.pool, uid).await {
            Ok(Some(current)) if current.status() < Some(status) => {}
            _ => return,
        }
    }
}
