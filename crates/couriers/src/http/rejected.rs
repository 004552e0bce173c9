//! The calls for rejected status records: list, show, and replay.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{BodyWithin, Id, Parameters, problem::Problem},
    rejected::{
        RejectedRecord,
        calls::{self, MAX_REPLAY_KIB, RejectedQuery},
    },
};
use events::StatusEvent;

use super::ApiState;

/// `GET /rejected`
pub(crate) async fn list(
    State(state): State<ApiState>,
    Parameters(query): Parameters<RejectedQuery>,
) -> Result<Response, Problem> {
    Ok(query.find(&state.pool).await?.into_response())
}

/// `GET /rejected/{id}`
pub(crate) async fn get(State(state): State<ApiState>, Id(id): Id) -> Result<Response, Problem> {
    let record = calls::find(&state.pool, &id).await?;
    Ok(Json(calls::record_json(&record)).into_response())
}

/// `POST /rejected/{id}/replay`: sends the record again as received, or with the body of the
/// request.
pub(crate) async fn replay(
    State(state): State<ApiState>,
    Id(id): Id,
    BodyWithin(body): BodyWithin<MAX_REPLAY_KIB>,
) -> Result<Response, Problem> {
    let record = calls::find(&state.pool, &id).await?;
    send_again(&state, &record, &body).await
}

/// Sends a record again: as it was received, or with `body` if it is not empty.
pub(crate) async fn send_again(
    state: &ApiState,
    record: &RejectedRecord,
    body: &[u8],
) -> Result<Response, Problem> {
    // An edited event is sent with the key of its own order, so that it goes to the partition of
    // the order's other events. Nothing is stored here: intake notes the replay when it reads the
    // record.
    let key = |body: &[u8]| Some(StatusEvent::read(Some(body)).ok()?.order_id.to_string());
    calls::replay(&state.producer, &state.status_topic, record, body, key).await
}
