//! The handlers of the calls about rejected records, with JSON answers: they are the same in every
//! service. A replay is only sent to Kafka: the service reads it like any other record, and may
//! reject it again.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use sqlx::PgPool;

use super::{
    RejectedQuery, Rejection, Settlement,
    calls::{self, MAX_REPLAY_KIB, ReplaySender},
    replays, settlement,
};
use crate::{
    http::{
        BodyWithin, Id, Parameters, WaitQuery,
        actor::{Actor, By},
        problem::Problem,
    },
    kafka::producer::Producer,
};

/// The state of a service that rejects records.
pub trait RejectingService: Clone + Send + Sync + 'static {
    fn pool(&self) -> &PgPool;

    fn producer(&self) -> &Producer;

    /// Returns the topic whose records are rejected: replays are sent to it.
    fn topic(&self) -> &str;

    /// Returns the rejection of a value that breaks a rule.
    fn rejection_of(value: Option<&[u8]>) -> Option<Rejection>;

    /// Returns the key of an edited value, so that it goes to the partition of the other records with
    /// this key.
    fn key_of(value: &[u8]) -> Option<String>;

    /// Returns the sender of replays.
    fn sender<'a>(&'a self, by: Option<&'a Actor>) -> ReplaySender<'a> {
        ReplaySender { producer: self.producer(), topic: self.topic(), by }
    }
}

/// The body of a call that settles a record.
pub type NoteBody = BodyWithin<64>;

/// `GET /rejected`
pub async fn list<S: RejectingService>(
    State(service): State<S>,
    Parameters(query): Parameters<RejectedQuery>,
) -> Result<Response, Problem> {
    Ok(query.find(service.pool()).await?.into_response())
}

/// `GET /rejected/count`
pub async fn count<S: RejectingService>(
    State(service): State<S>,
    Parameters(query): Parameters<RejectedQuery>,
) -> Result<Response, Problem> {
    Ok(query.count(service.pool()).await?.into_response())
}

/// `POST /rejected/replay`: sends a page of records again.
pub async fn replay_many<S: RejectingService>(
    State(service): State<S>,
    Parameters(query): Parameters<RejectedQuery>,
    By(by): By,
) -> Result<Response, Problem> {
    let replayed = replays::replay(service.pool(), service.sender(by.as_ref()), query).await?;
    Ok(replayed.into_response())
}

/// `GET /rejected/{id}`
pub async fn get<S: RejectingService>(
    State(service): State<S>,
    Id(id): Id,
) -> Result<Response, Problem> {
    let record = calls::find(service.pool(), &id).await?;
    Ok(axum::Json(calls::record_json(&record)).into_response())
}

/// `POST /rejected/{id}/check`: checks the record, or the request's body instead, without sending it.
pub async fn check<S: RejectingService>(
    State(service): State<S>,
    Id(id): Id,
    BodyWithin(body): BodyWithin<MAX_REPLAY_KIB>,
) -> Result<Response, Problem> {
    let record = calls::find(service.pool(), &id).await?;
    Ok(calls::check(&record, &body, S::rejection_of)?.into_response())
}

/// `POST /rejected/{id}/replay`: sends the record again as received, or the request's body instead.
pub async fn replay<S: RejectingService>(
    State(service): State<S>,
    Id(id): Id,
    Parameters(query): Parameters<WaitQuery>,
    By(by): By,
    BodyWithin(body): BodyWithin<MAX_REPLAY_KIB>,
) -> Result<Response, Problem> {
    let wait = query.wait()?;
    let record = calls::find(service.pool(), &id).await?;
    let sender = service.sender(by.as_ref());
    calls::replay(service.pool(), sender, &record, &body, S::key_of, wait).await
}

/// `POST /rejected/{id}/settle`
pub async fn settle<S: RejectingService>(
    State(service): State<S>,
    Id(id): Id,
    By(by): By,
    BodyWithin(body): NoteBody,
) -> Result<Response, Problem> {
    let note = settlement::parse_note(&body)?;
    let settlement = Settlement::Settle { by: by.as_ref(), note: &note };
    let row = settlement::apply(service.pool(), &id, settlement).await?;
    Ok(axum::Json(calls::summary(&row)).into_response())
}

/// `POST /rejected/{id}/reopen`
pub async fn reopen<S: RejectingService>(
    State(service): State<S>,
    Id(id): Id,
) -> Result<Response, Problem> {
    let row = settlement::apply(service.pool(), &id, Settlement::Reopen).await?;
    Ok(axum::Json(calls::summary(&row)).into_response())
}
