//! Deliveries: assigned and taken back by hand, explained, counted; and the queue.

use axum::{
    Json,
    extract::State as Extract,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{Id, Parameters, paging, problem::Problem, problems::malformed_id},
    postgres::pool::snapshot,
};
use events::OrderUid;
use serde::Deserialize;
use serde_json::json;

use super::{
    State,
    form::{self, Body},
    problems::{Refused, no_such_order, silent},
    view::{AssignedView, DeliveryView, QueueView, StatisticsView},
};
use crate::{
    delivery::DeliveryState,
    dispatch::MatchCursor,
    read::{self, count_couriers, find_delivery},
    store::{assign as assign_manually, find_courier, unassign as unassign_manually},
};

/// `POST /delivery/assign`
pub(super) async fn assign(
    Extract(state): Extract<State>,
    body: Body,
) -> Result<Response, Problem> {
    let order_id = form::order_id(body)?;
    let assigned =
        assign_manually(&state.pool, &order_id, &state.times).await.map_err(Refused::from)?;
    state.board.changed();
    Ok(Json(AssignedView::of(&order_id, &assigned)).into_response())
}

/// `POST /delivery/unassign`
pub(super) async fn unassign(
    Extract(state): Extract<State>,
    body: Body,
) -> Result<Response, Problem> {
    let order_id = form::order_id(body)?;
    let taken = unassign_manually(&state.pool, &order_id).await;
    state.wake.wake(MatchCursor::START);
    let courier_id = taken.map_err(Refused::from)?;
    let answer =
        json!({ "order_id": order_id, "status": "unassigned", "courier_id": courier_id.get() });
    Ok(Json(answer).into_response())
}

/// `GET /delivery/{order_id}`
pub(super) async fn get(
    Extract(state): Extract<State>,
    Id(order_id): Id,
) -> Result<Response, Problem> {
    let order_id: OrderUid =
        order_id.parse().map_err(|rule| malformed_id(format!("the order id {rule}")))?;
    let mut snapshot = snapshot(&state.pool).await.map_err(silent)?;
    let found = find_delivery(&mut snapshot, &order_id).await.map_err(silent)?;
    let delivery = found.ok_or_else(no_such_order)?;
    // How many carry and how many are paused is what a wait is explained by.
    let counts = match delivery.state {
        DeliveryState::Waiting => Some(count_couriers(&mut snapshot).await.map_err(silent)?),
        _ => None,
    };
    drop(snapshot);
    let courier = match &delivery.assignment {
        Some(assignment) => {
            find_courier(&state.pool, assignment.courier_id).await.map_err(silent)?
        }
        None => None,
    };
    Ok(Json(DeliveryView::of(&order_id, &delivery, counts, courier.as_ref())).into_response())
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    limit: Option<i64>,
}

/// `GET /queue`
pub(super) async fn queue(
    Extract(state): Extract<State>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    let limit = paging::parse_limit(wanted.limit)?;
    let mut snapshot = snapshot(&state.pool).await.map_err(silent)?;
    let queue = read::queue(&mut snapshot, limit).await.map_err(silent)?;
    Ok(Json(QueueView::of(&queue)).into_response())
}

/// `GET /statistics`
pub(super) async fn statistics(Extract(state): Extract<State>) -> Result<Response, Problem> {
    let mut snapshot = snapshot(&state.pool).await.map_err(silent)?;
    let all = read::statistics(&mut snapshot).await.map_err(silent)?;
    Ok(Json(StatisticsView::of(&all)).into_response())
}
