//! Seeded orders: PostgreSQL copies a few orders that the service has stored. This takes seconds,
//! while an ingest of the same number of orders would take minutes.

use sqlx::Connection as _;
use testkit::TestEnvironment;

use crate::{backlog, database, figure::thousands, progress};

/// The columns that the service reads, for baselines that read the same.
pub(crate) const COLUMNS: &str = "order_uid, track_number, entry, delivery_name, delivery_phone, \
    delivery_zip, delivery_city, delivery_address, delivery_region, delivery_email, \
    payment_transaction, payment_request_id, payment_currency, payment_provider, payment_amount, \
    payment_dt, payment_bank, payment_delivery_cost, payment_goods_total, payment_custom_fee, \
    items, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id, \
    date_created, oof_shard, version, ingested_at";

/// The form of the ids of seeded orders.
#[derive(Clone, Copy)]
pub(crate) enum Uids {
    /// Whole numbers of 19 digits, starting at [`FIRST_UID`], so that any program can compute them.
    Numbers,
    /// Spread over the range of a backlog's ids, so that new orders are between old ones.
    Hashes,
}

/// The first of the ids that are numbers.
pub(crate) const FIRST_UID: u64 = 1_000_000_000_000_000_000;

/// The number of different orders that are copied. They have the sizes of a backlog's orders.
pub(crate) const ORIGINALS: u64 = 16;

/// Fills the table of `env` with `orders` orders.
pub(crate) async fn fill(env: &TestEnvironment, orders: u64, uids: Uids) -> anyhow::Result<()> {
    progress(&format!("  storing {} orders", thousands(orders as f64)));
    backlog::fill(env, 0..ORIGINALS, None).await?;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;
    env.wait_until_drained().await;
    service.stop().await?;
    let mut administrator = database::administrator(env).await?;
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT attname::text FROM pg_attribute \
         WHERE attrelid = 'orders.orders'::regclass AND attnum > 0 AND NOT attisdropped \
         ORDER BY attnum",
    )
    .fetch_all(&mut administrator)
    .await?;
    for statement in [
        "CREATE TEMPORARY TABLE originals AS \
         SELECT row_number() OVER () - 1 AS original, * FROM orders.orders",
        "TRUNCATE orders.orders",
        &copy_originals(&names, orders, uids),
        "VACUUM ANALYZE orders.orders",
        "CHECKPOINT",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut administrator).await?;
    }
    Ok(administrator.close().await?)
}

/// Returns the statement that copies the originals, each copy with its own ids.
fn copy_originals(names: &[String], orders: u64, uids: Uids) -> String {
    let uid = match uids {
        // 7919 is a prime. As with real ids, orders that are neighbours in time are not neighbours
        // by key.
        Uids::Numbers => format!("({FIRST_UID} + n * 7919 % {orders})::text"),
        Uids::Hashes => "left(md5(n::text), 16) || 'test'".to_owned(),
    };
    let values = names.iter().map(|name| match name.as_str() {
        "order_uid" | "payment_transaction" => uid.clone(),
        "track_number" => "'WBILM' || n".to_owned(),
        "customer_id" => "'customer-' || n % 50000".to_owned(),
        "source_offset" => "n".to_owned(),
        // As if they came in batches of 500, the last one now.
        "ingested_at" => format!("now() - ({orders} - n) / 500 * interval '20 ms'"),
        other => other.to_owned(),
    });
    let values: Vec<String> = values.collect();
    format!(
        "INSERT INTO orders.orders ({}) SELECT {} \
         FROM generate_series(0::bigint, {orders} - 1) AS n \
         JOIN originals ON original = n % {ORIGINALS} ORDER BY n",
        names.join(", "),
        values.join(", ")
    )
}
