//! The states of orders, as events change them: a few set-based statements per batch.

use std::collections::{BTreeMap, HashSet};

use events::OrderUid;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::parse_rank;
use crate::{
    delivery::{Effect, FoldedStatus},
    dispatch::MatchCursor,
};

/// Applies a batch of events within a transaction. Events that are known already change nothing.
///
/// The caller wakes dispatch after the commit, with the cursor that this returns, even if nothing
/// changed: while this transaction waited for a row that another replica was changing, it may have
/// locked other rows, and a match may have skipped them.
pub async fn apply(
    transaction: &mut PgConnection,
    orders: &BTreeMap<&OrderUid, FoldedStatus>,
) -> Result<MatchCursor, sqlx::Error> {
    let mut cursor = MatchCursor::END;
    if orders.is_empty() {
        return Ok(cursor);
    }
    if let Some(oldest) = orders.values().filter_map(|folded| folded.created_at).min() {
        cursor.waiting_since = oldest;
    }
    force_key_lookups(&mut *transaction).await?;
    let new = insert_states(&mut *transaction, &Columns::of(orders)).await?;
    if new.len() == orders.len() {
        return Ok(cursor);
    }
    let known = orders.iter().filter(|(order_id, _)| !new.contains(order_id.as_str()));
    let known = known.map(|(order_id, folded)| (*order_id, *folded)).collect();
    let advanced = advance_states(&mut *transaction, &Columns::of(&known)).await?;
    let ends = Ends::of(advanced)?;
    if let Some(fewest) = end_deliveries(transaction, &ends).await? {
        cursor.deliveries = fewest;
    }
    Ok(cursor)
}

/// Makes the planner look up each row by its key, one after the other, until the end of this
/// transaction: the rows are then locked in the order of their keys, and no two writers deadlock.
async fn force_key_lookups(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "-- force_key_lookups\n\
         SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off",
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// One array per column, as `UNNEST` takes them, sorted by order id.
#[derive(Default)]
struct Columns {
    order_ids: Vec<String>,
    ranks: Vec<i16>,
    changed_at: Vec<OffsetDateTime>,
    created_at: Vec<Option<OffsetDateTime>>,
}

impl Columns {
    fn of(orders: &BTreeMap<&OrderUid, FoldedStatus>) -> Self {
        let mut columns = Self::default();
        for (order_id, folded) in orders {
            columns.order_ids.push(order_id.as_str().to_owned());
            columns.ranks.push(folded.status.rank());
            columns.changed_at.push(folded.changed_at);
            columns.created_at.push(folded.created_at);
        }
        columns
    }
}

/// Returns the ids of the orders that were not known.
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

/// The present state of an order that the batch changed. An ended order whose `created` comes only
/// now never had a delivery, so ending its delivery again changes nothing.
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

/// Orders whose delivery ends.
#[derive(Default)]
struct Ends {
    completed: Vec<String>,
    completed_at: Vec<OffsetDateTime>,
    cancelled: Vec<String>,
}

impl Ends {
    fn of(advanced: Vec<Advanced>) -> Result<Self, sqlx::Error> {
        let mut ends = Self::default();
        for order in advanced {
            match Effect::of(parse_rank(order.rank)?) {
                // These concern the order's row in order_states alone, which is written already.
                Effect::Enqueue | Effect::Advance => {}
                Effect::Complete => {
                    ends.completed.push(order.order_id);
                    ends.completed_at.push(order.changed_at);
                }
                Effect::Cancel => ends.cancelled.push(order.order_id),
            }
        }
        Ok(ends)
    }
}

/// Returns the fewest deliveries of a courier whose delivery ended, for the match cursor.
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
