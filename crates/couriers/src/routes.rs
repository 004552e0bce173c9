//! Every route of the courier service.

use axum::{
    Router, middleware,
    routing::{get, head, post},
};
use chassis::{
    flow,
    http::{Guard, Lists, finish, health::Health, limit_lists, problems::NO_SUCH_PAGE},
    rejected::handlers as rejected,
    web::by_accept,
};

use crate::{
    http::{self, ApiState, couriers, deliveries, live, search},
    pages::{self, PageState, board},
};

pub(crate) fn router(state: PageState, health: Health, guard: Guard, lists: Lists) -> Router {
    let lists = Router::new()
        .route("/couriers", get(couriers::list))
        .route("/courier/{id}/deliveries", get(deliveries::of_courier))
        .route("/deliveries", get(deliveries::list))
        .route("/queue", get(deliveries::queue))
        .route("/statistics", get(deliveries::statistics))
        .route("/search", get(search::get))
        .route("/rejected", get(by_accept(rejected::list::<ApiState>, pages::rejected::list)))
        .route("/rejected/count", get(rejected::count::<ApiState>))
        .route_layer(middleware::from_fn_with_state(lists, limit_lists));
    let routes = Router::new()
        .route("/", get(board::get))
        .route("/docs", get(pages::docs))
        .route("/openapi.json", get(http::openapi))
        .route("/assets/{name}", get(pages::asset))
        .route("/couriers", post(couriers::add_many))
        .route("/courier", post(couriers::add).put(couriers::change))
        .route("/courier/{id}", get(by_accept(couriers::get, pages::courier::get)))
        .route("/courier/{id}/statistics", get(couriers::statistics))
        .route("/delivery/assign", post(deliveries::assign))
        .route("/delivery/unassign", post(deliveries::unassign))
        .route("/delivery/{order_id}", get(deliveries::get))
        .route("/delivery/{order_id}/history", get(deliveries::history))
        .route(
            "/rejected/replay",
            post(by_accept(rejected::replay_many::<ApiState>, pages::rejected::replay_many)),
        )
        .route("/rejected/{id}", get(by_accept(rejected::get::<ApiState>, pages::rejected::get)))
        .route(
            "/rejected/{id}/check",
            post(by_accept(rejected::check::<ApiState>, pages::rejected::check)),
        )
        .route(
            "/rejected/{id}/replay",
            post(by_accept(rejected::replay::<ApiState>, pages::rejected::replay)),
        )
        .route(
            "/rejected/{id}/settle",
            post(by_accept(rejected::settle::<ApiState>, pages::rejected::settle)),
        )
        .route(
            "/rejected/{id}/reopen",
            post(by_accept(rejected::reopen::<ApiState>, pages::rejected::reopen)),
        )
        .route("/live", get(live::live))
        .route("/flow", get(pages::flow::get))
        .route("/flow.json", get(flow::calls::get))
        .route("/ping", get(http::ping))
        .route("/healthcheck", head(http::healthcheck))
        .merge(lists)
        .merge(health.routes())
        .fallback(by_accept(NO_SUCH_PAGE, pages::no_such_page));
    finish(routes, guard).with_state(state)
}
