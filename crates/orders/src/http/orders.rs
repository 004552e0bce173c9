//! `GET /orders`: lists of orders, read from the database and not from the cache, which does not
//! hold all orders.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::http::{Parameters, paging, problem::Problem, problems};
use http::header;
use serde::Deserialize;

use super::ApiState;
use crate::lookup::queries::{self, Listing};

#[derive(Deserialize)]
pub(crate) struct OrdersQuery {
    customer_id: Option<String>,
    track_number: Option<String>,
    limit: Option<i64>,
    after: Option<String>,
}

/// `GET /orders`
pub(crate) async fn list(
    State(state): State<ApiState>,
    Parameters(query): Parameters<OrdersQuery>,
) -> Result<Response, Problem> {
    let limit = paging::parse_limit(query.limit)?;
    let after = query.after.as_deref().map(paging::parse_cursor).transpose()?;
    let listing =
        Listing { customer_id: query.customer_id, track_number: query.track_number, after, limit };
    let page = queries::list(&state.pool, &listing)
        .await
        .map_err(|error| problems::of_database("listing orders", &error))?;
    let next = page.next(|last| paging::cursor(last.ingested_at, last.view.order_uid.as_str()));

    // The orders are already JSON and are joined as bytes.
    let mut body = b"{\"items\":[".to_vec();
    for (index, order) in page.rows.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&order.view.json);
    }
    body.extend_from_slice(b"],\"next\":");
    body.extend_from_slice(serde_json::to_string(&next).expect("a text is JSON").as_bytes());
    body.push(b'}');
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(next) = next {
        let filters = [
            ("customer_id", listing.customer_id.as_deref()),
            ("track_number", listing.track_number.as_deref()),
        ];
        paging::link_next(&mut response, "/orders", (limit, &next), &filters);
    }
    Ok(response)
}
