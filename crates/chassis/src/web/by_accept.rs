//! The choice between JSON and a page, for every call that offers both.

use axum::{
    extract::{Query, Request},
    handler::Handler,
};
use futures_util::future::Either;
use http::{HeaderMap, Uri, header};
use serde::Deserialize;

/// The parts of a query that every page understands.
#[derive(Default, Deserialize)]
pub(super) struct PageQuery {
    pub(super) lang: Option<String>,
    format: Option<String>,
}

impl PageQuery {
    pub(super) fn of(uri: &Uri) -> Self {
        Query::try_from_uri(uri).map(|Query(query)| query).unwrap_or_default()
    }
}

/// A handler that answers with a page if the request asks for one, else with JSON.
pub fn by_accept<J, P>(json: J, page: P) -> ByAccept<J, P> {
    ByAccept { json, page }
}

/// The handler that [`by_accept`] returns.
#[derive(Debug, Clone)]
pub struct ByAccept<J, P> {
    json: J,
    page: P,
}

impl<J, P, JsonInput, PageInput, S> Handler<(JsonInput, PageInput), S> for ByAccept<J, P>
where
    J: Handler<JsonInput, S>,
    P: Handler<PageInput, S>,
    JsonInput: 'static,
    PageInput: 'static,
    S: 'static,
{
    type Future = Either<P::Future, J::Future>;

    fn call(self, request: Request, state: S) -> Self::Future {
        if wants_page(request.headers(), request.uri()) {
            Either::Left(self.page.call(request, state))
        } else {
            Either::Right(self.json.call(request, state))
        }
    }
}

/// Returns true if `Accept` names `text/html` and the query does not ask for `format=json`.
#[must_use]
pub fn wants_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
        && PageQuery::of(uri).format.as_deref() != Some("json")
}
