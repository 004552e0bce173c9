//! The calls for deliveries: assign and unassign manually, show one delivery, the queue, and the
//! statistics of all couriers.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{Id, Parameters, paging, problem::Problem, problems::MALFORMED_ID},
    postgres::{
        read::snapshot,
        time_limit::{BY_KEY, LIST},
    },
};
use events::OrderUid;
use serde::Deserialize;
use serde_json::json;

use super::{
    ApiState,
    form::{self, Body},
    problems::{NO_SUCH_ORDER, failed},
    view::{AssignedView, DeliveryView, QueueView, StatisticsView},
};
use crate::{
    delivery::DeliveryState,
    dispatch::MatchCursor,
    read::{self, count_couriers, find_delivery},
    store::{assign as assign_manually, find_courier, unassign as unassign_manually},
};

/// `POST /delivery/assign`
pub(crate) async fn assign(State(state): State<ApiState>, body: Body) -> Result<Response, Problem> {
    let order_id = form::order_id(body)?;
    let assigned = assign_manually(&state.pool, &order_id, &state.times).await?;
    // No match has run, so dispatch does not report this change to the live board.
    state.board.changed();
    Ok(Json(AssignedView::of(&order_id, &assigned)).into_response())
}

/// `POST /delivery/unassign`
pub(crate) async fn unassign(
    State(state): State<ApiState>,
    body: Body,
) -> Result<Response, Problem> {
    let order_id = form::order_id(body)?;
    // The wake-up comes before the error is returned: a match may have skipped the order's row
    // while it was locked. Dispatch then reports the change to the live board.
    let taken = unassign_manually(&state.pool, &order_id).await;
    state.wake.wake(MatchCursor::START);
    let courier_id = taken?;
    let answer =
        json!({ "order_id": order_id, "status": "unassigned", "courier_id": courier_id.get() });
    Ok(Json(answer).into_response())
}

/// `GET /delivery/{order_id}`
pub(crate) async fn get(
    State(state): State<ApiState>,
    Id(order_id): Id,
) -> Result<Response, Problem> {
    let order_id: OrderUid =
        order_id.parse().map_err(|rule| MALFORMED_ID.with(format!("the order id {rule}")))?;
    let found = snapshot(&state.pool, BY_KEY, async |snapshot| {
        let Some(delivery) = find_delivery(snapshot, &order_id).await? else { return Ok(None) };
        // The numbers of busy and paused couriers explain why the order waits.
        let counts = match delivery.state {
            DeliveryState::Waiting => Some(count_couriers(snapshot).await?),
            _ => None,
        };
        let courier = match &delivery.assignment {
            Some(assignment) => find_courier(snapshot, assignment.courier_id).await?,
            None => None,
        };
        Ok(Some((delivery, counts, courier)))
    });
    let found = found.await.map_err(failed)?;
    let (delivery, counts, courier) = found.ok_or_else(|| NO_SUCH_ORDER.problem())?;
    Ok(Json(DeliveryView::of(&order_id, &delivery, counts, courier.as_ref())).into_response())
}

#[derive(Deserialize)]
pub(crate) struct QueueQuery {
    limit: Option<i64>,
}

/// `GET /queue`
pub(crate) async fn queue(
    State(state): State<ApiState>,
    Parameters(query): Parameters<QueueQuery>,
) -> Result<Response, Problem> {
    let limit = paging::parse_limit(query.limit)?;
    let queue = snapshot(&state.pool, LIST, async |snapshot| read::queue(snapshot, limit).await);
    let queue = queue.await.map_err(failed)?;
    Ok(Json(QueueView::of(&queue)).into_response())
}

/// `GET /statistics`
pub(crate) async fn statistics(State(state): State<ApiState>) -> Result<Response, Problem> {
    let all = snapshot(&state.pool, LIST, async |snapshot| read::statistics(snapshot).await);
    let all = all.await.map_err(failed)?;
    Ok(Json(StatisticsView::of(&all)).into_response())
}
