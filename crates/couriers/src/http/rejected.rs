//! Rejected status records: what came, why it was rejected, and sending it again.

use axum::{
    Json,
    body::Bytes,
    extract::{State as Extract, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use chassis::{
    http::{Id, Parameters, problem::Problem, problems},
    rejected::calls::{self, Wanted},
};
use events::StatusEvent;

use super::State;

/// `GET /rejected`
pub(super) async fn list(
    Extract(state): Extract<State>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    Ok(wanted.find(&state.pool).await?.into_response())
}

/// `GET /rejected/{id}`
pub(super) async fn get(Extract(state): Extract<State>, Id(id): Id) -> Result<Response, Problem> {
    let row = calls::find(&state.pool, &id).await?;
    Ok(Json(calls::whole(&row)).into_response())
}

/// `POST /rejected/{id}/replay`: as it came, or with the request's body instead.
pub(super) async fn replay(
    Extract(state): Extract<State>,
    Id(id): Id,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| problems::body_unreadable(&rejection))?;
    let row = calls::find(&state.pool, &id).await?;
    // A corrected event belongs with the others of its order.
    let key = |body: &[u8]| Some(StatusEvent::read(Some(body)).ok()?.order_id.to_string());
    calls::replay(&state.producer, &state.status_topic, &row, &body, key).await
}
