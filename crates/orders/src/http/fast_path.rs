//! `GET /order/{order_uid}` of an order in memory, answered before the router.
//!
//! The router with its layers and extractors takes longer than everything else that such an answer
//! needs. Any other request, and an order that is not fresh in memory, goes to the router and so to
//! [`order::get`]; both write their answer with [`order::answer`]. The fast path never waits and
//! never returns an error.

use std::{sync::Arc, time::Instant};

use axum::response::Response;
use chassis::{
    http::{HttpMetrics, Series},
    web,
};
use http::{HeaderValue, Method, Request, StatusCode, header};

use super::order;
use crate::lookup::{AnsweredBy, Lookup};

pub(crate) struct FastPath {
    lookup: Arc<Lookup>,
    whole: Series,
    unchanged: Series,
}

impl FastPath {
    pub(crate) fn new(lookup: Arc<Lookup>, metrics: &HttpMetrics) -> Self {
        let series = |status| metrics.series(&Method::GET, "/order/{order_uid}", status);
        let (whole, unchanged) = (series(StatusCode::OK), series(StatusCode::NOT_MODIFIED));
        Self { lookup, whole, unchanged }
    }

    /// Returns the answer, or `None` if the router has to answer.
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Option<Response> {
        let started = Instant::now();
        // Only a fresh order: a stale or unknown one needs the database, and a client may wait for
        // it only in the router.
        let cached = self.lookup.cache().fresh(plain_uid(request)?, started)?;
        let took = started.elapsed();
        let found = (cached, AnsweredBy::Memory);
        let mut response = order::answer(&found, took, request.headers());
        // The layers of the router do not run here, so their header and their metrics are added.
        let nosniff = HeaderValue::from_static("nosniff");
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        let unchanged = response.status() == StatusCode::NOT_MODIFIED;
        if unchanged { &self.unchanged } else { &self.whole }.count(took);
        Some(response)
    }
}

/// Returns the id in the path of a request that asks for JSON and has no parameters; `None` for any
/// other request. An escaped id is left to the router, which decodes it.
fn plain_uid<B>(request: &Request<B>) -> Option<&str> {
    let uid = request.uri().path().strip_prefix("/order/")?;
    let plain = request.method() == Method::GET
        && request.uri().query().is_none()
        && !uid.contains(['%', '/'])
        && !web::wants_page(request.headers(), request.uri());
    plain.then_some(uid)
}
