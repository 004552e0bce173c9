//! The calls for couriers: list, show, add, change, and the statistics of one courier.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{
        Id, Parameters, paging,
        problem::Problem,
        problems::{MALFORMED_ID, bad_parameter},
    },
    postgres::{read::read, time_limit::BY_KEY},
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{
    ApiState,
    actor::By,
    form::{self, Body, ListBody},
    problems::{NO_SUCH_COURIER, failed},
    view::{CourierView, StatisticsView},
};
use crate::{
    delivery::courier::{CourierId, Invalid},
    dispatch::MatchCursor,
    read::courier_statistics,
    store::{
        CourierFilter, create_courier, create_couriers, find_courier, list_couriers, update_courier,
    },
};

/// The longest text of a search, in characters.
const MAX_TEXT_CHARS: usize = 255;

#[derive(Deserialize)]
pub(crate) struct CouriersQuery {
    status: Option<String>,
    q: Option<String>,
    limit: Option<i64>,
    after: Option<String>,
}

/// `GET /couriers`
pub(crate) async fn list(
    State(state): State<ApiState>,
    Parameters(query): Parameters<CouriersQuery>,
) -> Result<Response, Problem> {
    let limit = paging::parse_limit(query.limit)?;
    let after = query.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| paging::bad_cursor())?;
    let status = query.status.as_deref().map(str::parse).transpose();
    let status = status.map_err(|rule: Invalid| bad_parameter("status", &rule.to_string()))?;
    let is_wrong = |text: &str| text.chars().count() > MAX_TEXT_CHARS || text.contains('\0');
    if query.q.as_deref().is_some_and(is_wrong) {
        return Err(bad_parameter("q", "must have at most 255 characters, without NUL"));
    }
    let filter = CourierFilter { status, text: query.q.clone().filter(|text| !text.is_empty()) };
    let page = list_couriers(&state.pool, &filter, after, limit).await.map_err(failed)?;
    let next = page.next(|last| last.id.to_string());
    let items: Vec<CourierView> = page.rows.iter().map(CourierView::of).collect();
    let mut response = Json(json!({ "items": items, "next": next })).into_response();
    if let Some(next) = next {
        let filters = [("status", query.status.as_deref()), ("q", query.q.as_deref())];
        paging::link_next(&mut response, "/couriers", (limit, &next), &filters);
    }
    Ok(response)
}

/// `GET /courier/{id}`
pub(crate) async fn get(State(state): State<ApiState>, Id(id): Id) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let found = read(&state.pool, BY_KEY, async |connection| find_courier(connection, id).await);
    let found = found.await.map_err(failed)?;
    let courier = found.ok_or_else(|| NO_SUCH_COURIER.problem())?;
    Ok(Json(CourierView::of(&courier)).into_response())
}

/// `POST /courier`
pub(crate) async fn add(
    State(state): State<ApiState>,
    By(actor): By,
    body: Body,
) -> Result<Response, Problem> {
    let courier = form::new_courier(body)?;
    // An error needs no wake-up: an insert locks no row that a match could skip. If its outcome is
    // unknown and it was committed, the next sweep finds the courier.
    let id = create_courier(&state.pool, &courier, actor.as_ref()).await?;
    // From the start: it costs little after a manual action, and it is before every place.
    state.wake.wake(MatchCursor::START);
    let location = HeaderValue::try_from(format!("/courier/{id}")).expect("digits are ASCII");
    let answer =
        (StatusCode::CREATED, [(header::LOCATION, location)], Json(json!({ "id": id.get() })));
    Ok(answer.into_response())
}

/// `POST /couriers`: adds all or none.
pub(crate) async fn add_many(
    State(state): State<ApiState>,
    By(actor): By,
    body: ListBody,
) -> Result<Response, Problem> {
    let couriers = form::new_couriers(body)?;
    let ids = create_couriers(&state.pool, &couriers, actor.as_ref()).await?;
    state.wake.wake(MatchCursor::START);
    let ids: Vec<i64> = ids.into_iter().map(CourierId::get).collect();
    Ok((StatusCode::CREATED, Json(json!({ "ids": ids }))).into_response())
}

/// `PUT /courier`
pub(crate) async fn change(
    State(state): State<ApiState>,
    By(actor): By,
    body: Body,
) -> Result<Response, Problem> {
    let (id, change) = form::courier_change(body)?;
    // The wake-up comes before the error is returned: a match may have skipped the courier's row
    // while it was locked, even if the change was then rolled back.
    let changed = update_courier(&state.pool, id, &change, actor.as_ref()).await;
    state.wake.wake(MatchCursor::START);
    let courier = changed?;
    Ok(Json(CourierView::of(&courier)).into_response())
}

/// `GET /courier/{id}/statistics`
pub(crate) async fn statistics(
    State(state): State<ApiState>,
    Id(id): Id,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let found =
        read(&state.pool, BY_KEY, async |connection| courier_statistics(connection, id).await);
    let found = found.await.map_err(failed)?;
    let statistics = found.ok_or_else(|| NO_SUCH_COURIER.problem())?;
    Ok(Json(StatisticsView::of(&statistics)).into_response())
}

pub(super) fn parse_id(text: &str) -> Result<CourierId, Problem> {
    text.parse().map_err(|rule| MALFORMED_ID.with(format!("a courier's id {rule}")))
}
