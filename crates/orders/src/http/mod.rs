//! The order service over HTTP. It reads from the cache and the database, and writes only to Kafka.

mod couriers;
mod live;
mod order;
mod orders;
mod page;
mod problems;
mod quick;
mod rejected;
mod status;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use chassis::{
    http::{Metrics, health::Health},
    producer::Producer,
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{couriers::Couriers, quick::Quick};
use crate::{feed::Feed, lookup::Lookup, publish::Topics};

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) pool: PgPool,
    pub(crate) producer: Producer,
    pub(crate) topics: Arc<Topics>,
    pub(crate) feed: Arc<Feed>,
    /// The courier service, if there is one to ask.
    pub(crate) couriers: Option<Couriers>,
    pub(crate) shutdown: CancellationToken,
}

/// All routes.
pub(crate) fn router(state: State, health: Health, metrics: Metrics) -> Router {
    let routes = Router::new()
        .route("/", get(page::home))
        .route("/docs", get(page::docs))
        .route("/openapi.json", get(page::openapi))
        .route("/assets/{name}", get(page::asset))
        .route("/order/{order_uid}", get(order::get))
        .route("/order/{order_uid}/status", get(status::status))
        .route("/order/{order_uid}/history", get(status::history))
        .route("/order/{order_uid}/cancel", post(status::cancel))
        .route("/order/{order_uid}/complete", post(status::complete))
        .route("/order", post(order::post))
        .route("/orders", get(orders::list))
        .route("/rejected", get(rejected::list))
        .route("/rejected/{id}", get(rejected::get))
        .route("/rejected/{id}/replay", post(rejected::replay))
        .route("/live", get(live::live))
        .merge(health.routes())
        .fallback(page::nowhere);
    let routes = match state.couriers.clone() {
        Some(couriers) => routes.layer(middleware::map_response(move |response| {
            std::future::ready(couriers.allow(response))
        })),
        None => routes,
    };
    chassis::http::finish(routes, metrics).with_state(state)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::web::OPENAPI;

    /// For people, not for programs.
    const PAGES: [&str; 4] = ["/", "/docs", "/openapi.json", "/assets/{name}"];

    /// Methods and paths as the source gives them to the router, for axum does not tell them.
    fn routes(source: &str) -> BTreeSet<String> {
        let source = source.split("#[cfg(test)]").next().unwrap();
        let mut routes = BTreeSet::new();
        for route in source.split(".route(").skip(1) {
            let mut parts = route.split('"');
            let path = parts.nth(1).unwrap();
            let handlers = parts.next().unwrap().split(".route(").next().unwrap();
            for method in ["get", "head", "post", "put", "delete"] {
                let offered = handlers.split('\n').take(3).any(|line| {
                    line.split(|c: char| !c.is_alphanumeric() && c != '(')
                        .any(|word| word.starts_with(&format!("{method}(")))
                });
                if offered && !PAGES.contains(&path) {
                    routes.insert(format!("{method} {path}"));
                }
            }
        }
        routes
    }

    #[test]
    fn every_route_is_in_openapi_json_and_the_other_way_round() {
        let mut routed = routes(include_str!("mod.rs"));
        routed.extend(routes(include_str!("../../../chassis/src/http/health.rs")));
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut documented = BTreeSet::new();
        for (path, calls) in document["paths"].as_object().unwrap() {
            // The router answers HEAD wherever it answers GET.
            let methods = calls.as_object().unwrap().keys();
            let methods =
                methods.filter(|method| !["parameters", "head"].contains(&method.as_str()));
            documented.extend(methods.map(|method| format!("{method} {path}")));
        }
        assert_eq!(routed, documented);
    }
}
