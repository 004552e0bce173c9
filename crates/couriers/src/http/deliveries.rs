//! The calls for deliveries: assign and unassign manually, show one delivery, the queue, and the
//! statistics of all couriers.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{
        Id, Parameters, paging, path_segment,
        problem::Problem,
        problems::{MALFORMED_ID, bad_parameter},
    },
    postgres::{
        read::{read as read_only, snapshot},
        time_limit::{BY_KEY, LIST},
    },
};
use events::{CourierId, InvalidCourierId, OrderUid, parse_instant};
use serde::Deserialize;
use serde_json::json;

use super::{
    ApiState,
    actor::By,
    couriers,
    form::{self, Body},
    problems::{NO_SUCH_COURIER, NO_SUCH_ORDER, failed},
    view::{
        AssignedView, DeliveryView, HistoryView, ListedDeliveryView, QueueView, StatisticsView,
    },
};
use crate::{
    delivery::DeliveryState,
    dispatch::MatchCursor,
    read::{
        self, DeliveryFilter, Listed, QueueState, count_couriers, find_delivery, find_history,
        list_deliveries,
    },
    store::{assign as assign_manually, find_courier, unassign as unassign_manually},
};

/// `POST /delivery/assign`
pub(crate) async fn assign(
    State(state): State<ApiState>,
    By(actor): By,
    body: Body,
) -> Result<Response, Problem> {
    let (order_id, to) = form::assignment(body)?;
    // The wake-up comes before the error is returned: a match may have skipped a courier while they
    // were locked. Dispatch then reports the change to the live board and to the sender.
    let assigned = assign_manually(&state.pool, &order_id, to, &state.times, actor.as_ref()).await;
    state.wake.wake(MatchCursor::START);
    let assigned = assigned?;
    Ok(Json(AssignedView::of(&order_id, &assigned)).into_response())
}

/// `POST /delivery/unassign`
pub(crate) async fn unassign(
    State(state): State<ApiState>,
    By(actor): By,
    body: Body,
) -> Result<Response, Problem> {
    let (order_id, then) = form::unassignment(body)?;
    // The wake-up comes before the error is returned: a match may have skipped the order's row
    // while it was locked. Dispatch then reports the change to the live board.
    let taken = unassign_manually(&state.pool, &order_id, then, actor.as_ref()).await;
    state.wake.wake(MatchCursor::START);
    let courier_id = taken?;
    let status = then.logged().as_str();
    let answer = json!({ "order_id": order_id, "status": status, "courier_id": courier_id.get() });
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
pub(crate) struct HistoryQuery {
    limit: Option<i64>,
    after: Option<i64>,
}

/// `GET /delivery/{order_id}/history`
pub(crate) async fn history(
    State(state): State<ApiState>,
    Id(order_id): Id,
    Parameters(query): Parameters<HistoryQuery>,
) -> Result<Response, Problem> {
    let order_id: OrderUid =
        order_id.parse().map_err(|rule| MALFORMED_ID.with(format!("the order id {rule}")))?;
    let limit = paging::parse_limit(query.limit)?;
    let after = match query.after {
        None => 0,
        Some(after @ 1..) => after,
        Some(_) => return Err(paging::bad_cursor()),
    };
    let found = snapshot(&state.pool, BY_KEY, async |snapshot| {
        find_history(snapshot, &order_id, after, limit).await
    });
    let history = found.await.map_err(failed)?.ok_or_else(|| NO_SUCH_ORDER.problem())?;
    let next = history.entries.next(|last| last.event.number.to_string());
    let mut response = Json(HistoryView::of(&order_id, &history, next.as_deref())).into_response();
    if let Some(next) = next {
        let path = format!("/delivery/{}/history", path_segment(order_id.as_str()));
        paging::link_next(&mut response, &path, (limit, &next), &[]);
    }
    Ok(response)
}

#[derive(Deserialize)]
pub(crate) struct DeliveriesQuery {
    state: Option<String>,
    courier_id: Option<String>,
    from: Option<String>,
    limit: Option<i64>,
    after: Option<String>,
}

/// `GET /deliveries`
pub(crate) async fn list(
    State(state): State<ApiState>,
    Parameters(query): Parameters<DeliveriesQuery>,
) -> Result<Response, Problem> {
    let courier_id = query.courier_id.as_deref().map(str::parse).transpose();
    let courier_id = courier_id
        .map_err(|rule: InvalidCourierId| bad_parameter("courier_id", &rule.to_string()))?;
    list_page(&state, "/deliveries", courier_id, &query).await
}

/// `GET /courier/{id}/deliveries`
pub(crate) async fn of_courier(
    State(state): State<ApiState>,
    Id(id): Id,
    Parameters(query): Parameters<DeliveriesQuery>,
) -> Result<Response, Problem> {
    let id = couriers::parse_id(&id)?;
    if query.courier_id.is_some() {
        return Err(bad_parameter("courier_id", "is in the path already"));
    }
    let found =
        read_only(&state.pool, BY_KEY, async |connection| find_courier(connection, id).await);
    found.await.map_err(failed)?.ok_or_else(|| NO_SUCH_COURIER.problem())?;
    list_page(&state, &format!("/courier/{id}/deliveries"), Some(id), &query).await
}

async fn list_page(
    state: &ApiState,
    path: &str,
    courier_id: Option<CourierId>,
    query: &DeliveriesQuery,
) -> Result<Response, Problem> {
    let limit = paging::parse_limit(query.limit)?;
    let listed = query.state.as_deref().map(str::parse).transpose();
    let listed: Listed = listed.map_err(|rule| bad_parameter("state", rule))?.unwrap_or_default();
    let from = query.from.as_deref().map(|text| {
        parse_instant(text).ok_or_else(|| bad_parameter("from", "must be a time of RFC 3339"))
    });
    let after = query.after.as_deref().map(paging::parse_cursor).transpose()?;
    let filter = DeliveryFilter { listed, courier_id, from: from.transpose()? };
    let page = list_deliveries(&state.pool, &filter, after, limit).await.map_err(failed)?;
    let next = page.next(|last| paging::cursor(last.sorted_by(listed), &last.order_id));
    let items: Vec<_> = page.rows.iter().map(ListedDeliveryView::of).collect();
    let mut response = Json(json!({ "items": items, "next": next })).into_response();
    if let Some(next) = next {
        // The courier is in the path, or a parameter.
        let courier_id = query.courier_id.as_deref();
        let filters = [
            ("state", Some(listed.as_str())),
            ("courier_id", courier_id),
            ("from", query.from.as_deref()),
        ];
        paging::link_next(&mut response, path, (limit, &next), &filters);
    }
    Ok(response)
}

#[derive(Deserialize)]
pub(crate) struct QueueQuery {
    state: Option<String>,
    limit: Option<i64>,
}

/// `GET /queue`
pub(crate) async fn queue(
    State(state): State<ApiState>,
    Parameters(query): Parameters<QueueQuery>,
) -> Result<Response, Problem> {
    let limit = paging::parse_limit(query.limit)?;
    let listed = query.state.as_deref().map(str::parse).transpose();
    let listed: Option<QueueState> = listed.map_err(|rule| bad_parameter("state", rule))?;
    let queue =
        snapshot(&state.pool, LIST, async |snapshot| read::queue(snapshot, listed, limit).await);
    let queue = queue.await.map_err(failed)?;
    Ok(Json(QueueView::of(&queue)).into_response())
}

/// `GET /statistics`
pub(crate) async fn statistics(State(state): State<ApiState>) -> Result<Response, Problem> {
    let all = snapshot(&state.pool, LIST, async |snapshot| read::statistics(snapshot).await);
    let all = all.await.map_err(failed)?;
    Ok(Json(StatisticsView::of(&all)).into_response())
}
