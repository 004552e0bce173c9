//! Rejected records: what came, why it was rejected, and sending it again.

use axum::{
    body::Bytes,
    extract::{State as Extract, rejection::BytesRejection},
    response::{IntoResponse, Redirect, Response},
};
use chassis::{
    http::{Id, Parameters, problem::Problem, problems},
    rejected::calls::{self, Wanted},
    web::Reader,
};

use super::{State, order::How, page};
use crate::{
    order::parse::parse,
    pages::{Silent, rejection_href},
};

/// `GET /rejected`
pub(super) async fn list(
    Extract(state): Extract<State>,
    Parameters(wanted): Parameters<Wanted>,
    reader: Reader,
) -> Result<Response, Problem> {
    match wanted.find(&state.pool).await {
        Ok(found) if reader.wants_page() => Ok(page::rejected_list(&state, &reader, &found).await),
        Ok(found) => Ok(found.into_response()),
        Err(problem) if reader.wants_page() && problem.is_passing() => {
            Ok(page::trouble(&state, &reader, Silent::Database, reader.here()))
        }
        Err(problem) => Err(problem),
    }
}

/// `GET /rejected/{id}`
pub(super) async fn get(
    Extract(state): Extract<State>,
    Id(id): Id,
    reader: Reader,
) -> Result<Response, Problem> {
    let row = match calls::find(&state.pool, &id).await {
        Err(problem) if reader.wants_page() => {
            return Ok(page::no_rejection(&state, &reader, &id, &problem).await);
        }
        found => found?,
    };
    if reader.wants_page() {
        return Ok(page::rejection(&state, &reader, &row).await);
    }
    Ok(axum::Json(calls::whole(&row)).into_response())
}

/// `POST /rejected/{id}/replay`: as it came, or with the request's body instead.
pub(super) async fn replay(
    Extract(state): Extract<State>,
    Id(id): Id,
    Parameters(how): Parameters<How>,
    reader: Reader,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| problems::body_unreadable(&rejection))?;
    let wait = how.wait()?;
    let row = match calls::find(&state.pool, &id).await {
        Err(problem) if reader.wants_page() => {
            return Ok(page::no_rejection(&state, &reader, &id, &problem).await);
        }
        found => found?,
    };
    let href = rejection_href(&row.id().to_string());
    // A corrected order belongs with the others of its id.
    let key = |body: &[u8]| Some(parse(Some(body)).ok()?.order.order_uid.to_string());
    let sent = calls::replay(&state.producer, &state.topics.orders, &row, &body, key).await;
    let sent = match sent {
        Err(problem) if reader.wants_page() && problem.is_passing() => {
            return Ok(page::trouble(&state, &reader, Silent::Kafka, &href));
        }
        sent => sent?,
    };
    if let Some(wait) = wait {
        calls::noted(&state.pool, &row, wait).await;
    }
    if reader.wants_page() {
        return Ok(Redirect::to(&href).into_response());
    }
    Ok(sent)
}
