//! The calls about rejected records. A replay is only sent to Kafka: ingest reads it like any other
//! record, and may reject it again.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{
        BodyWithin, Id, Parameters,
        actor::{Actor, By},
        problem::Problem,
    },
    rejected::{
        RejectedQuery, Rejection, Settlement,
        calls::{self, MAX_REPLAY_KIB, ReplaySender},
        replays, settlement,
    },
};

use super::{ApiState, WaitQuery};
use crate::order::parse::parse;

/// The body of a call that settles a record.
pub(crate) type NoteBody = BodyWithin<64>;

/// `GET /rejected`
pub(crate) async fn list(
    State(state): State<ApiState>,
    Parameters(query): Parameters<RejectedQuery>,
) -> Result<Response, Problem> {
    Ok(query.find(&state.pool).await?.into_response())
}

/// `GET /rejected/count`
pub(crate) async fn count(
    State(state): State<ApiState>,
    Parameters(query): Parameters<RejectedQuery>,
) -> Result<Response, Problem> {
    Ok(query.count(&state.pool).await?.into_response())
}

/// `POST /rejected/replay`: sends a page of records again.
pub(crate) async fn replay_many(
    State(state): State<ApiState>,
    Parameters(query): Parameters<RejectedQuery>,
    By(by): By,
) -> Result<Response, Problem> {
    Ok(replays::replay(&state.pool, sender(&state, by.as_ref()), query).await?.into_response())
}

/// `GET /rejected/{id}`
pub(crate) async fn get(State(state): State<ApiState>, Id(id): Id) -> Result<Response, Problem> {
    let row = calls::find(&state.pool, &id).await?;
    Ok(axum::Json(calls::record_json(&row)).into_response())
}

/// `POST /rejected/{id}/check`: checks the record, or the request's body instead, without sending it.
pub(crate) async fn check(
    State(state): State<ApiState>,
    Id(id): Id,
    BodyWithin(body): BodyWithin<MAX_REPLAY_KIB>,
) -> Result<Response, Problem> {
    let record = calls::find(&state.pool, &id).await?;
    Ok(calls::check(&record, &body, rules)?.into_response())
}

/// `POST /rejected/{id}/replay`: sends the record again as received, or the request's body instead.
pub(crate) async fn replay(
    State(state): State<ApiState>,
    Id(id): Id,
    Parameters(query): Parameters<WaitQuery>,
    By(by): By,
    BodyWithin(body): BodyWithin<MAX_REPLAY_KIB>,
) -> Result<Response, Problem> {
    let wait = query.wait()?;
    let record = calls::find(&state.pool, &id).await?;
    let sender = sender(&state, by.as_ref());
    calls::replay(&state.pool, sender, &record, &body, key_of, wait).await
}

/// `POST /rejected/{id}/settle`
pub(crate) async fn settle(
    State(state): State<ApiState>,
    Id(id): Id,
    By(by): By,
    BodyWithin(body): NoteBody,
) -> Result<Response, Problem> {
    let note = settlement::parse_note(&body)?;
    let settlement = Settlement::Settle { by: by.as_ref(), note: &note };
    let row = settlement::apply(&state.pool, &id, settlement).await?;
    Ok(axum::Json(calls::summary(&row)).into_response())
}

/// `POST /rejected/{id}/reopen`
pub(crate) async fn reopen(State(state): State<ApiState>, Id(id): Id) -> Result<Response, Problem> {
    let row = settlement::apply(&state.pool, &id, Settlement::Reopen).await?;
    Ok(axum::Json(calls::summary(&row)).into_response())
}

/// Returns the sender of replays.
pub(crate) fn sender<'a>(state: &'a ApiState, by: Option<&'a Actor>) -> ReplaySender<'a> {
    ReplaySender { producer: &state.producer, topic: &state.topics.orders, by }
}

/// Returns the rejection of a value that is not a valid order.
pub(crate) fn rules(value: Option<&[u8]>) -> Option<Rejection> {
    parse(value).err()
}

/// Returns the key of an edited order: it goes to the partition of its own id.
pub(crate) fn key_of(body: &[u8]) -> Option<String> {
    Some(parse(Some(body)).ok()?.order.order_uid.to_string())
}
