//! The calls that list, show and replay rejected records. A replay is only sent to Kafka: ingest
//! reads it like any other record, and may reject it again.

use std::time::Duration;

use axum::{
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

use super::{ApiState, WaitQuery};
use crate::order::parse::parse;

/// `GET /rejected`
pub(crate) async fn list(
    State(state): State<ApiState>,
    Parameters(query): Parameters<RejectedQuery>,
) -> Result<Response, Problem> {
    Ok(query.find(&state.pool).await?.into_response())
}

/// `GET /rejected/{id}`
pub(crate) async fn get(State(state): State<ApiState>, Id(id): Id) -> Result<Response, Problem> {
    let row = calls::find(&state.pool, &id).await?;
    Ok(axum::Json(calls::record_json(&row)).into_response())
}

/// `POST /rejected/{id}/replay`: sends the record again as received, or the request's body instead.
pub(crate) async fn replay(
    State(state): State<ApiState>,
    Id(id): Id,
    Parameters(query): Parameters<WaitQuery>,
    BodyWithin(body): BodyWithin<MAX_REPLAY_KIB>,
) -> Result<Response, Problem> {
    let wait = query.wait()?;
    let row = calls::find(&state.pool, &id).await?;
    send_again(&state, &row, &body, wait).await
}

/// Sends a record again, and waits at most `wait` until the replay is stored with the record.
pub(crate) async fn send_again(
    state: &ApiState,
    row: &RejectedRecord,
    body: &[u8],
    wait: Option<Duration>,
) -> Result<Response, Problem> {
    // An edited order goes to the partition of its own id.
    let key = |body: &[u8]| Some(parse(Some(body)).ok()?.order.order_uid.to_string());
    let sent = calls::replay(&state.producer, &state.topics.orders, row, body, key).await?;
    // `row` was read before the replay was sent: the wait ends when the stored row has one more
    // replay than this one. A wait that ends without it is not an error, because Kafka has the
    // record.
    if let Some(wait) = wait {
        calls::wait_for_replay(&state.pool, row, wait).await;
    }
    Ok(sent)
}
