//! The call that searches for orders and couriers.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{Parameters, paging, problem::Problem, problems::bad_parameter},
    postgres::{read::snapshot, time_limit::BY_KEY},
};
use serde::{Deserialize, Serialize};

use super::{ApiState, problems::failed};
use crate::read::{CourierRow, Found, MAX_SEARCH_CHARS, OrderRow, search};

#[derive(Deserialize)]
pub(crate) struct SearchQuery {
    q: String,
    limit: Option<i64>,
}

/// `GET /search`
pub(crate) async fn get(
    State(state): State<ApiState>,
    Parameters(query): Parameters<SearchQuery>,
) -> Result<Response, Problem> {
    let limit = paging::parse_limit(query.limit)?;
    check_text("q", &query.q)?;
    let found =
        snapshot(&state.pool, BY_KEY, async |snapshot| search(snapshot, &query.q, limit).await);
    let found = found.await.map_err(failed)?;
    Ok(Json(FoundView::of(&found)).into_response())
}

/// Checks the text of a search, which is the parameter `name`.
pub(crate) fn check_text(name: &str, text: &str) -> Result<(), Problem> {
    if text.chars().count() > MAX_SEARCH_CHARS || text.contains('\0') {
        return Err(bad_parameter(name, "must have at most 100 characters, without NUL"));
    }
    Ok(())
}

#[derive(Serialize)]
struct FoundView<'a> {
    orders: Vec<FoundOrderView<'a>>,
    couriers: Vec<FoundCourierView<'a>>,
}

#[derive(Serialize)]
struct FoundOrderView<'a> {
    order_id: &'a str,
    state: &'static str,
    courier_id: Option<i64>,
    courier_name: Option<&'a str>,
}

#[derive(Serialize)]
struct FoundCourierView<'a> {
    id: i64,
    name: &'a str,
    phone: &'a str,
    status: &'static str,
    transport_type: &'static str,
}

impl<'a> FoundView<'a> {
    fn of(found: &'a Found) -> Self {
        let orders = found.orders.iter().map(|order: &OrderRow| FoundOrderView {
            order_id: &order.order_id,
            state: order.state.as_str(),
            courier_id: order.courier.as_ref().map(|courier| courier.id.get()),
            courier_name: order.courier.as_ref().map(|courier| courier.name.as_ref()),
        });
        let couriers = found.couriers.iter().map(|courier: &CourierRow| FoundCourierView {
            id: courier.id.get(),
            name: courier.name.as_ref(),
            phone: courier.phone.as_ref(),
            status: courier.status.as_str(),
            transport_type: courier.transport_type.as_str(),
        });
        Self { orders: orders.collect(), couriers: couriers.collect() }
    }
}
