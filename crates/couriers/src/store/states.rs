//! Changes of the states of orders by events: a few set-based statements per batch.
//!
//! Intake calls this within its transaction. The rules are in [`delivery`](crate::delivery) and in
//! `queries/`; this module decides the order of the statements.

use std::collections::{BTreeMap, HashSet};

use chassis::process::failpoint;
use events::OrderUid;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::parse_rank;
use crate::{
    delivery::{Effect, FoldedStatus},
    dispatch::MatchCursor,
};

/// Applies a batch of events within a transaction. Events that were applied before change nothing.
///
/// The caller wakes dispatch after the commit, with the cursor that this returns, even if nothing
/// changed: this transaction may have locked rows while it waited for a row that another replica
/// was changing, and a match may have skipped the locked rows.
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
    // Insert first. `ON CONFLICT DO NOTHING` waits for another transaction that inserts the same
    // order, and returns only the rows that it inserted itself. So all other orders have committed
    // rows, which the next statement sees and locks.
    //
    // Both statements work in key order. A batch in its update never waits for a batch that still
    // inserts: its own insert has waited for the rows of that batch. So two batches do not
    // deadlock.
    let new = insert_states(&mut *transaction, &Columns::of(orders)).await?;
    // A new order has no delivery that could end.
    if new.len() == orders.len() {
        return Ok(cursor);
    }
    let known = orders.iter().filter(|(order_id, _)| !new.contains(order_id.as_str()));
    let known = known.map(|(order_id, folded)| (*order_id, *folded)).collect();
    let advanced = advance_states(&mut *transaction, &Columns::of(&known)).await?;
    let ends = Ends::of(advanced)?;
    // The deliveries after the states: the locks on the orders' rows decide who changes a delivery.
    if let Some(fewest) = end_deliveries(transaction, &ends).await? {
        cursor.deliveries = fewest;
    }
    Ok(cursor)
}

/// Makes the planner look up each row by its key, one after the other, until the end of this
/// transaction. The rows are then locked in the order of their keys, and no two writers deadlock. A
/// hash join, for example, could lock them in another order.
async fn force_key_lookups(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "-- force_key_lookups\n\
         SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off",
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// One array per column, for `UNNEST`. All are sorted by order id, which is the order of the locks.
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

/// Inserts the orders that are not stored yet, and returns their ids.
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

/// The state of an order after the batch has changed it. This may be an order that had ended before
/// its `created` arrived: it has no delivery, so `end_deliveries` changes nothing for it.
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
                // These change only the order's row in `order_states`, which is already written.
                Effect::Enqueue | Effect::Advance => {}
                Effect::Complete if failpoint::is_skipped("guard.completed-frees") => {}
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

/// Ends these deliveries. Returns the lowest number of deliveries among the changed couriers, for
/// the match cursor.
// A cancellation lowers this number even if the courier was available before: they move forward in
// the queue, and the cursor must not be behind them.
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
