//! The JSON API of the order service. It reads from the cache and the database, and writes only to
//! Kafka: a posted order takes the same path as every other record of the topic. The HTML pages are
//! in [`pages`](crate::pages).

mod fast_path;
pub(crate) mod live;
pub(crate) mod order;
pub(crate) mod orders;
pub(crate) mod problems;
mod rejected;
pub(crate) mod status;

use std::sync::{Arc, LazyLock};

use axum::response::Response;
use chassis::{
    flow::Flow,
    http::{Streams, path_segment},
    kafka::producer::Producer,
    web::docs,
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub(crate) use chassis::http::WaitQuery;

pub(crate) use self::fast_path::FastPath;
use crate::{
    ingest::publish::Topics,
    lookup::{Lookup, live_feed::Feed},
};

/// The state of the API's handlers.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) pool: PgPool,
    pub(crate) producer: Producer,
    pub(crate) topics: Arc<Topics>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) flow: Flow,
    pub(crate) streams: Streams,
    pub(crate) shutdown: CancellationToken,
}

/// The OpenAPI document of this service.
pub(crate) static OPENAPI: LazyLock<String> =
    LazyLock::new(|| docs::with_shared_parts(include_str!("openapi.json")));

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Response {
    docs::openapi(&OPENAPI)
}

/// Returns the path of an order.
pub(crate) fn order_path(uid: &str) -> String {
    format!("/order/{}", path_segment(uid))
}

/// Returns the path of a rejected record.
pub(crate) fn rejected_path(id: &str) -> String {
    format!("/rejected/{}", path_segment(id))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::order::currency::CURRENCIES;

    #[test]
    fn the_document_lists_the_accepted_currencies() {
        let document: Value = serde_json::from_str(&OPENAPI).unwrap();
        let currency = &document["components"]["schemas"]["Payment"]["properties"]["currency"];
        assert_eq!(currency["enum"], json!(CURRENCIES));
    }

    #[test]
    fn any_id_becomes_one_segment_of_a_path() {
        assert_eq!(order_path("b563feb7b2b84b6test"), "/order/b563feb7b2b84b6test");
        assert_eq!(order_path("a/b?c#d%e \"'<&"), "/order/a%2Fb%3Fc%23d%25e%20%22%27%3C%26");
        assert_eq!(order_path("ж"), "/order/%D0%B6");
        assert_eq!(rejected_path("orders:3:18204"), "/rejected/orders:3:18204");
    }
}
