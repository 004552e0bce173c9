//! How far orders have come, as events tell it: some set-based statements a batch.

use std::collections::{BTreeMap, HashSet};

use events::OrderUid;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::status_of;
use crate::{
    delivery::{Effect, Told},
    dispatch::Front,
};

/// Writes what a batch of events tells, within a transaction. What is known already changes
/// nothing. After the commit dispatch is to be woken in any case, with the front that this gives: a
/// row that another replica has just brought further may have been locked in vain, and a match have
/// skipped it.
pub async fn tell(
    transaction: &mut PgConnection,
    orders: &BTreeMap<&OrderUid, Told>,
) -> Result<Front, sqlx::Error> {
    let mut front = Front::END;
    if orders.is_empty() {
        return Ok(front);
    }
    if let Some(oldest) = orders.values().filter_map(|told| told.created_at).min() {
        front.waiting_since = oldest;
    }
    look_up_by_key(&mut *transaction).await?;
    let new = insert_states(&mut *transaction, &Columns::of(orders)).await?;
    if new.len() == orders.len() {
        return Ok(front);
    }
    let known = orders.iter().filter(|(order_id, _)| !new.contains(order_id.as_str()));
    let known = known.map(|(order_id, told)| (*order_id, *told)).collect();
    let advanced = advance_states(&mut *transaction, &Columns::of(&known)).await?;
    let mut ends = Ends::default();
    for order in advanced {
        ends.add(order)?;
    }
    if let Some(fewest) = end_deliveries(transaction, &ends).await? {
        front.deliveries = fewest;
    }
    Ok(front)
}

/// Has the planner look up each row by its key, one after the other, until the end of this
/// transaction: rows that are locked in the order of the keys have nobody wait in a circle.
async fn look_up_by_key(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "-- look_up_by_key\n\
         SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off",
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// One array a column, as `UNNEST` takes them, sorted by order id.
#[derive(Default)]
struct Columns {
    order_ids: Vec<String>,
    ranks: Vec<i16>,
    changed_at: Vec<OffsetDateTime>,
    created_at: Vec<Option<OffsetDateTime>>,
}

impl Columns {
    fn of(orders: &BTreeMap<&OrderUid, Told>) -> Self {
        let mut columns = Self::default();
        for (order_id, told) in orders {
            columns.order_ids.push(order_id.as_str().to_owned());
            columns.ranks.push(told.status.rank());
            columns.changed_at.push(told.changed_at);
            columns.created_at.push(told.created_at);
        }
        columns
    }
}

/// The ids of those that were not known.
async fn insert_states(
    transaction: &mut PgConnection,
    columns: &Columns,
) -> Result<HashSet<String>, sqlx::Error> {
    let new = sqlx::query_file_scalar!(
        "queries/insert_states.sql",
        &columns.order_ids,
        &columns.ranks,
        &columns.changed_at,
        &columns.created_at as &[Option<OffsetDateTime>],
    )
    .fetch_all(transaction)
    .await?;
    Ok(new.into_iter().collect())
}

/// An order to which something was news, as it stands now. One that had ended, and whose `created`
/// came only now, never had a delivery: ending it again does nothing.
struct Advanced {
    order_id: String,
    rank: i16,
    changed_at: OffsetDateTime,
}

async fn advance_states(
    transaction: &mut PgConnection,
    columns: &Columns,
) -> Result<Vec<Advanced>, sqlx::Error> {
    sqlx::query_file_as!(
        Advanced,
        "queries/advance_states.sql",
        &columns.order_ids,
        &columns.ranks,
        &columns.changed_at,
        &columns.created_at as &[Option<OffsetDateTime>],
    )
    .fetch_all(transaction)
    .await
}

/// Orders whose delivery has ended.
#[derive(Default)]
struct Ends {
    completed: Vec<String>,
    completed_at: Vec<OffsetDateTime>,
    cancelled: Vec<String>,
}

impl Ends {
    fn add(&mut self, order: Advanced) -> Result<(), sqlx::Error> {
        match Effect::of(status_of(order.rank)?) {
            // That an order waits is a matter of its row alone.
            Effect::Wait | Effect::Pass => {}
            Effect::Complete => {
                self.completed.push(order.order_id);
                self.completed_at.push(order.changed_at);
            }
            Effect::Cancel => self.cancelled.push(order.order_id),
        }
        Ok(())
    }
}

/// The fewest deliveries of a courier whose delivery has ended.
async fn end_deliveries(
    transaction: &mut PgConnection,
    ends: &Ends,
) -> Result<Option<i64>, sqlx::Error> {
    if ends.completed.is_empty() && ends.cancelled.is_empty() {
        return Ok(None);
    }
    sqlx::query_file_scalar!(
        "queries/end_deliveries.sql",
        &ends.completed,
        &ends.completed_at,
        &ends.cancelled,
    )
    .fetch_one(transaction)
    .await
}
