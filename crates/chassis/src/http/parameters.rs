//! Extractors for paths, queries and bodies. They answer with a problem where axum would answer with
//! plain text.

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request},
};
use http::request::Parts;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;

use super::problems;
use crate::http::problem::Problem;

/// The only parameter of a path: an id, which may be any text.
#[derive(Debug)]
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(problems::MALFORMED_ID.with("the id in the path must be UTF-8")),
        }
    }
}

#[derive(Debug)]
pub struct Parameters<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(problems::BAD_PARAMETER.with(error.body_text())),
        }
    }
}

/// The body of a request. Each call states the size that it accepts, in KiB.
#[derive(Debug)]
pub struct BodyWithin<const KIB: usize>(pub Bytes);

impl<S: Send + Sync, const KIB: usize> FromRequest<S> for BodyWithin<KIB> {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        // Before a byte of it is read: a client that announces its body does not send it then.
        if request.body().size_hint().lower() > (KIB << 10) as u64 {
            return Err(problems::body_too_large(KIB));
        }
        DefaultBodyLimit::max(KIB << 10).apply(&mut request);
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|rejection| problems::body_unreadable(&rejection, KIB))
    }
}
