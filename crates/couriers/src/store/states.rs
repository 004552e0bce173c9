//! Changes of the states of orders by events: a few set-based statements per batch.
//!
//! Intake calls this within its transaction. The rules are in [`delivery`](crate::delivery) and in
//! `queries/`; this module decides the order of the statements.

use std::collections::{BTreeMap, HashSet};

use chassis::{postgres::errors::bad_column, process::failpoint};
use events::OrderUid;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::parse_rank;
use crate::{
    delivery::{Effect, FoldedStatus},
    dispatch::MatchCursor,
};

/// Applies a batch of events of `topic` within a transaction. Events that were applied before change
/// nothing.
///
/// The caller wakes dispatch after the commit, with the cursor that this returns, even if nothing
/// changed: this transaction may have locked rows while it waited for a row that another replica
/// was changing, and a match may have skipped the locked rows.
pub async fn apply(
    transaction: &mut PgConnection,
    topic: &str,
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
    let (new, known): (BTreeMap<_, _>, BTreeMap<_, _>) = orders
        .iter()
        .map(|(order_id, folded)| (*order_id, *folded))
        .partition(|(order_id, _)| new.contains(order_id.as_str()));
    let mut ends = Ends::default();
    for (order_id, folded) in &new {
        ends.add(order_id, *folded, true);
    }
    if !known.is_empty() {
        for advanced in advance_states(&mut *transaction, &Columns::of(&known)).await? {
            ends.add_advanced(&advanced, &known)?;
        }
    }
    // The deliveries after the states: the locks on the orders' rows decide who changes a delivery.
    if let Some(fewest) = end_deliveries(transaction, topic, &ends).await? {
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
            columns.changed_at.push(folded.changed_at());
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

/// The rank of an order after the batch has changed its row.
struct Advanced {
    order_id: String,
    rank: i16,
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

/// Orders that end, one array per column, each with the event that ends it.
#[derive(Default)]
struct Ends {
    order_ids: Vec<String>,
    ranks: Vec<i16>,
    record_timestamps: Vec<OffsetDateTime>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    /// False if the order may have ended before.
    are_certain: Vec<bool>,
}

impl Ends {
    fn add_advanced(
        &mut self,
        Advanced { order_id, rank }: &Advanced,
        known: &BTreeMap<&OrderUid, FoldedStatus>,
    ) -> Result<(), sqlx::Error> {
        let bad = |error| bad_column("couriers.order_states.order_id", error);
        let order_id: OrderUid = order_id.parse().map_err(bad)?;
        let folded = known.get(&&order_id).expect("the statement returns only orders of the batch");
        // If the stored rank is higher, the batch only brought the time of the `created`. If it is
        // the same and the batch has a `created`, it cannot be seen here which of both has changed.
        if parse_rank(*rank)? == folded.status {
            self.add(&order_id, *folded, folded.created_at.is_none());
        }
        Ok(())
    }

    fn add(&mut self, order_id: &OrderUid, folded: FoldedStatus, is_certain: bool) {
        match Effect::of(folded.status) {
            // These change only the order's row in `order_states`, which is already written.
            Effect::Enqueue | Effect::Advance => return,
            Effect::Complete if failpoint::is_skipped("guard.completed-frees") => return,
            Effect::Complete | Effect::Cancel => {}
        }
        self.order_ids.push(order_id.as_str().to_owned());
        self.ranks.push(folded.status.rank());
        self.record_timestamps.push(folded.changed_at());
        self.partitions.push(folded.event.partition);
        self.offsets.push(folded.event.offset);
        self.are_certain.push(is_certain);
    }
}

/// Ends the deliveries of these orders, and writes the log. Returns the lowest number of deliveries
/// among the changed couriers, for the match cursor.
// A cancellation lowers this number even if the courier was available before: they move forward in
// the queue, and the cursor must not be behind them.
async fn end_deliveries(
    transaction: &mut PgConnection,
    topic: &str,
    ends: &Ends,
) -> Result<Option<i64>, sqlx::Error> {
    if ends.order_ids.is_empty() {
        return Ok(None);
    }
    sqlx::query_file_scalar!(
        "queries/end_deliveries.sql",
        &ends.order_ids,
        &ends.ranks,
        &ends.record_timestamps,
        &ends.partitions,
        &ends.offsets,
        &ends.are_certain,
        topic,
    )
    .fetch_one(transaction)
    .await
}
