//! Couriers: listed, shown, added, changed.

use axum::{
    Json,
    extract::State as Extract,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{Id, Parameters, paging, problem::Problem, problems::malformed_id},
    postgres::pool::snapshot,
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{
    State,
    form::{self, Body},
    problems::{Refused, no_such_courier, silent},
    view::{CourierView, StatisticsView},
};
use crate::{
    delivery::courier::CourierId,
    dispatch::MatchCursor,
    read::courier_statistics,
    store::{create_courier, find_courier, list_couriers, update_courier},
};

#[derive(Deserialize)]
pub(super) struct Wanted {
    limit: Option<i64>,
    after: Option<String>,
}

/// `GET /couriers`
pub(super) async fn list(
    Extract(state): Extract<State>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    let limit = paging::parse_limit(wanted.limit)?;
    let after = wanted.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| paging::bad_cursor())?;
    let mut couriers = list_couriers(&state.pool, after, limit + 1).await.map_err(silent)?;
    let next = paging::cut(&mut couriers, limit, |last| last.id.to_string());
    let items: Vec<CourierView> = couriers.iter().map(CourierView::of).collect();
    let mut response = Json(json!({ "items": items, "next": next })).into_response();
    if let Some(next) = next {
        paging::link_next(&mut response, "/couriers", (limit, &next), &[]);
    }
    Ok(response)
}

/// `GET /courier/{id}`
pub(super) async fn get(Extract(state): Extract<State>, Id(id): Id) -> Result<Response, Problem> {
    let found = find_courier(&state.pool, parse_id(&id)?).await.map_err(silent)?;
    let courier = found.ok_or_else(no_such_courier)?;
    Ok(Json(CourierView::of(&courier)).into_response())
}

/// `POST /courier`
pub(super) async fn add(Extract(state): Extract<State>, body: Body) -> Result<Response, Problem> {
    let courier = form::new_courier(body)?;
    let id = create_courier(&state.pool, &courier).await.map_err(Refused::from)?;
    state.wake.wake(MatchCursor::START);
    let location = HeaderValue::try_from(format!("/courier/{id}")).expect("digits are ASCII");
    let answer =
        (StatusCode::CREATED, [(header::LOCATION, location)], Json(json!({ "id": id.get() })));
    Ok(answer.into_response())
}

/// `PUT /courier`
pub(super) async fn change(
    Extract(state): Extract<State>,
    body: Body,
) -> Result<Response, Problem> {
    let (id, change) = form::courier_change(body)?;
    let changed = update_courier(&state.pool, id, &change).await;
    state.wake.wake(MatchCursor::START);
    let courier = changed.map_err(Refused::from)?;
    Ok(Json(CourierView::of(&courier)).into_response())
}

/// `GET /courier/{id}/statistics`
pub(super) async fn statistics(
    Extract(state): Extract<State>,
    Id(id): Id,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let mut snapshot = snapshot(&state.pool).await.map_err(silent)?;
    let found = courier_statistics(&mut snapshot, id).await.map_err(silent)?;
    let statistics = found.ok_or_else(no_such_courier)?;
    Ok(Json(StatisticsView::of(&statistics)).into_response())
}

fn parse_id(text: &str) -> Result<CourierId, Problem> {
    text.parse().map_err(|rule| malformed_id(format!("a courier's id {rule}")))
}
