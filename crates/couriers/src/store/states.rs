//! How far orders have come, as events tell it: some set-based statements a batch.

use std::collections::{BTreeMap, HashSet};

use events::OrderUid;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::status_of;
use crate::delivery::{Effect, Told};

/// Writes what a batch of events tells, within a transaction. What is known already changes
/// nothing. After the commit dispatch is to be woken in any case: a row that another replica has just
/// brought further may have been locked in vain, and a match have skipped it.
pub async fn tell(
    transaction: &mut PgConnection,
    orders: &BTreeMap<&OrderUid, Told>,
) -> Result<(), sqlx::Error> {
    if orders.is_empty() {
        return Ok(());
    }
    let new = insert_states(&mut *transaction, &Columns::of(orders)).await?;
    if new.len() == orders.len() {
        return Ok(());
    }
    let known = orders.iter().filter(|(order_id, _)| !new.contains(order_id.as_str()));
    let known = known.map(|(order_id, told)| (*order_id, *told)).collect();
    let advanced = advance_states(&mut *transaction, &Columns::of(&known)).await?;
    let mut ends = Ends::default();
    for order in advanced {
        // An order that had this status, or a higher one, before has had its effect.
        if order.after > order.before {
            ends.add(order)?;
        }
    }
    end_deliveries(transaction, &ends).await
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

/// An order to which something was news.
struct Advanced {
    order_id: String,
    before: i16,
    after: i16,
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
        match Effect::of(status_of(order.after)?) {
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

async fn end_deliveries(transaction: &mut PgConnection, ends: &Ends) -> Result<(), sqlx::Error> {
    if ends.completed.is_empty() && ends.cancelled.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "queries/end_deliveries.sql",
        &ends.completed,
        &ends.completed_at,
        &ends.cancelled,
    )
    .execute(transaction)
    .await?;
    Ok(())
}
