//! The statements of the sender: the lease, and the entries that are to be sent.

use std::time::Duration;

use chassis::postgres::{read::read, time_limit::BACKGROUND, transaction::change};
use events::DeliveryEvent;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::store::EntryRow;

/// The maximum number of entries in a batch. The statement contains the same number as a constant.
// Each read passes the dead index entries of the batches before, so few large batches cost less than
// many small ones.
pub(super) const BATCH_ROWS: usize = 10_000;

/// A sender, by a random number: another process never has the same one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder(i64);

impl Holder {
    pub(super) fn new() -> Self {
        Self(rand::random())
    }
}

/// Takes the lease if no other sender has it, and renews an own lease that has used half of its
/// time. Returns true if the sender has the lease now.
// The database's clock alone decides. If two senders try at once, the second one waits for the
// lock of the row, and then finds the lease of the first one.
pub(super) async fn take_lease(
    pool: &PgPool,
    Holder(holder): Holder,
    lease: Duration,
) -> Result<bool, sqlx::Error> {
    change(pool, BACKGROUND, async |transaction| {
        sqlx::query_scalar!(
            r#"-- take_lease
            WITH taken AS (
                UPDATE couriers.outbox_lease
                SET holder = $1, until = clock_timestamp() + make_interval(secs => $2::double precision)
                WHERE until < clock_timestamp()
                    OR (holder = $1 AND until < clock_timestamp() + make_interval(secs => $2::double precision / 2))
                RETURNING 1
            )
            SELECT EXISTS (SELECT FROM taken) OR EXISTS (
                SELECT FROM couriers.outbox_lease WHERE holder = $1 AND until > clock_timestamp()
            ) AS "is_held!""#,
            holder,
            lease.as_secs_f64(),
        )
        .fetch_one(transaction)
        .await
    })
    .await
}

/// Gives up an own lease, so that another replica can take it at once.
pub(super) async fn give_up_lease(
    pool: &PgPool,
    Holder(holder): Holder,
) -> Result<(), sqlx::Error> {
    change(pool, BACKGROUND, async |transaction| {
        sqlx::query!(
            "-- give_up_lease\n\
             UPDATE couriers.outbox_lease SET until = '-infinity' WHERE holder = $1",
            holder,
        )
        .execute(transaction)
        .await?;
        Ok(())
    })
    .await
}

/// Returns the entries with the lowest numbers in the outbox, at most [`BATCH_ROWS`].
pub(super) async fn read_entries(pool: &PgPool) -> Result<Vec<DeliveryEvent>, sqlx::Error> {
    let rows = read(pool, BACKGROUND, async |connection| {
        sqlx::query_as!(
            EntryRow,
            r#"-- read_entries
            SELECT to_send.number, to_send.at, to_send.order_id,
                coalesce(to_send.status, entry.status) AS "status!",
                coalesce(to_send.courier_id, entry.courier_id) AS courier_id,
                coalesce(to_send.transport_type, entry.transport_type) AS transport_type,
                coalesce(to_send.deadline, entry.deadline) AS deadline,
                coalesce(to_send.cause, entry.cause) AS "cause!"
            FROM (
                SELECT * FROM couriers.delivery_outbox ORDER BY number LIMIT 10000
            ) AS to_send
            -- Only rows of the previous version need their entry. OFFSET 0 makes this a lookup for each
            -- of them: as a join, it could read all of the log.
            LEFT JOIN LATERAL (
                SELECT status, courier_id, transport_type, deadline, cause
                FROM couriers.delivery_log AS entry
                WHERE to_send.status IS NULL
                    AND entry.order_id = to_send.order_id AND entry.number = to_send.number OFFSET 0
            ) AS entry ON true
            WHERE to_send.status IS NOT NULL OR entry.status IS NOT NULL
            ORDER BY to_send.number"#
        )
        .fetch_all(connection)
        .await
    });
    rows.await?.into_iter().map(TryInto::try_into).collect()
}

/// The entries that are not sent yet.
pub(super) struct Outbox {
    /// At most 100,000, so that a long outbox costs no more to count.
    pub(super) entries: i64,
    pub(super) oldest_seconds: f64,
}

pub(super) async fn measure_outbox(pool: &PgPool) -> Result<Outbox, sqlx::Error> {
    read(pool, BACKGROUND, async |connection| {
        sqlx::query_as!(
            Outbox,
            r#"-- measure_outbox
            SELECT (
                SELECT count(*) FROM (
                    SELECT FROM couriers.delivery_outbox LIMIT 100000
                ) AS entries
            ) AS "entries!",
            coalesce((
                SELECT extract(epoch FROM clock_timestamp() - at)::double precision
                FROM couriers.delivery_outbox ORDER BY number LIMIT 1
            ), 0) AS "oldest_seconds!""#
        )
        .fetch_one(connection)
        .await
    })
    .await
}

/// Deletes acknowledged entries from the outbox if the sender still has the lease.
// The lock on the lease lasts until the commit, so no other sender takes it in between. An entry
// with the number of an acknowledged one and another time is a new entry, after the database lost
// its last transactions: it is not sent yet, so it stays.
pub(super) async fn delete_sent(
    transaction: &mut PgConnection,
    Holder(holder): Holder,
    entries: &[DeliveryEvent],
) -> Result<(), sqlx::Error> {
    let numbers: Vec<i64> = entries.iter().map(|entry| entry.number).collect();
    let times: Vec<OffsetDateTime> = entries.iter().map(|entry| entry.at).collect();
    sqlx::query!(
        "-- delete_sent\n\
         WITH held AS ( \
             SELECT holder FROM couriers.outbox_lease \
             WHERE holder = $1 AND until > clock_timestamp() FOR NO KEY UPDATE \
         ) \
         DELETE FROM couriers.delivery_outbox AS stored \
         USING held, UNNEST($2::bigint[], $3::timestamptz[]) AS sent (number, at) \
         WHERE stored.number = sent.number AND stored.at = sent.at",
        holder,
        &numbers,
        &times,
    )
    .execute(transaction)
    .await?;
    Ok(())
}
