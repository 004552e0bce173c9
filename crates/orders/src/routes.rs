//! Every route of the order service. Calls that offer JSON and a page choose by `Accept`.

use std::future::ready;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use chassis::{
    flow,
    http::{Guard, Lists, finish, health::Health, limit_lists, problems::NO_SUCH_PAGE},
    rejected::handlers as rejected,
    web::by_accept,
};

use crate::{
    http::{self, ApiState, live, orders},
    pages::{self, PageState, docs, home},
};

pub(crate) fn router(state: PageState, health: Health, guard: Guard, lists: Lists) -> Router {
    let lists = Router::new()
        .route("/order/{order_uid}/history", get(http::status::history))
        .route("/orders", get(orders::list))
        .route("/rejected", get(by_accept(rejected::list::<ApiState>, pages::rejected::list)))
        .route("/rejected/count", get(rejected::count::<ApiState>))
        .route_layer(middleware::from_fn_with_state(lists, limit_lists));
    let routes = Router::new()
        .route("/", get(home::get))
        .route("/docs", get(docs::get))
        .route("/openapi.json", get(http::openapi))
        .route("/assets/{name}", get(pages::asset))
        .route("/order", post(http::order::post))
        .route("/order/{order_uid}", get(by_accept(http::order::get, pages::order::get)))
        .route("/order/{order_uid}/status", get(http::status::get))
        .route(
            "/order/{order_uid}/cancel",
            post(by_accept(http::status::cancel, pages::status::cancel)),
        )
        .route(
            "/order/{order_uid}/complete",
            post(by_accept(http::status::complete, pages::status::complete)),
        )
        .route(
            "/rejected/replay",
            post(by_accept(rejected::replay_many::<ApiState>, pages::rejected::replay_many)),
        )
        .route("/rejected/{id}", get(by_accept(rejected::get::<ApiState>, pages::rejection::get)))
        .route(
            "/rejected/{id}/check",
            post(by_accept(rejected::check::<ApiState>, pages::rejection::check)),
        )
        .route(
            "/rejected/{id}/replay",
            post(by_accept(rejected::replay::<ApiState>, pages::rejection::replay)),
        )
        .route(
            "/rejected/{id}/settle",
            post(by_accept(rejected::settle::<ApiState>, pages::rejection::settle)),
        )
        .route(
            "/rejected/{id}/reopen",
            post(by_accept(rejected::reopen::<ApiState>, pages::rejection::reopen)),
        )
        .route("/live", get(live::live))
        .route("/flow", get(pages::flow::get))
        .route("/flow.json", get(flow::calls::get))
        .merge(lists)
        .merge(health.routes())
        .fallback(by_accept(NO_SUCH_PAGE, pages::no_such_page));
    let routes = match state.courier_service.clone() {
        Some(service) => {
            routes.layer(middleware::map_response(move |page| ready(service.allow(page))))
        }
        None => routes,
    };
    finish(routes, guard).with_state(state)
}
