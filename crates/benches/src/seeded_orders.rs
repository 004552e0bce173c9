//! Stored orders by the hundred thousand, without the minutes that ingest would take: PostgreSQL
//! copies a few that the service has stored, each copy with ids of its own.

use anyhow::Context;
use sqlx::{Connection as _, PgConnection};
use testkit::TestEnvironment;

use crate::{backlog, figure::thousands, say};

/// What the service reads of an order, for baselines that read the same.
pub const COLUMNS: &str = "order_uid, track_number, entry, delivery_name, delivery_phone, \
    delivery_zip, delivery_city, delivery_address, delivery_region, delivery_email, \
    payment_transaction, payment_request_id, payment_currency, payment_provider, payment_amount, \
    payment_dt, payment_bank, payment_delivery_cost, payment_goods_total, payment_custom_fee, \
    items, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id, \
    date_created, oof_shard, version, ingested_at";

/// What the ids of seeded orders are.
#[derive(Clone, Copy)]
pub enum Uids {
    /// Whole numbers of 19 digits from [`FIRST_UID`] on, so that any program can make them up.
    Numbers,
    /// Spread over all that a backlog's ids may be, so that new orders come between old ones.
    Hashes,
}

/// The first of the ids that are numbers.
pub const FIRST_UID: u64 = 1_000_000_000_000_000_000;

/// How many different orders are copied. Their sizes are those of a backlog.
pub const ORIGINALS: u64 = 16;

/// Fills the env's table with `orders` orders.
pub async fn fill(env: &TestEnvironment, orders: u64, uids: Uids) -> anyhow::Result<()> {
    say(&format!("  storing {} orders", thousands(orders as f64)));
    backlog::fill(env, 0..ORIGINALS, None).await?;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;
    env.wait_until_drained().await;
    service.stop().await?;
    let mut administrator = PgConnection::connect(&address(env)?).await?;
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT attname::text FROM pg_attribute \
         WHERE attrelid = 'orders.orders'::regclass AND attnum > 0 AND NOT attisdropped \
         ORDER BY attnum",
    )
    .fetch_all(&mut administrator)
    .await?;
    let uid = match uids {
        // 7919 is prime: neighbours in time are no neighbours by key, as with real ids.
        Uids::Numbers => format!("({FIRST_UID} + n * 7919 % {orders})::text"),
        Uids::Hashes => "left(md5(n::text), 16) || 'test'".to_owned(),
    };
    let values = names.iter().map(|name| match name.as_str() {
        "order_uid" | "payment_transaction" => uid.clone(),
        "track_number" => "'WBILM' || n".to_owned(),
        "customer_id" => "'customer-' || n % 50000".to_owned(),
        "source_offset" => "n".to_owned(),
        // As from batches of 500, the last of them just now.
        "ingested_at" => format!("now() - ({orders} - n) / 500 * interval '20 ms'"),
        other => other.to_owned(),
    });
    let values: Vec<String> = values.collect();
    for statement in [
        "CREATE TEMPORARY TABLE originals AS \
         SELECT row_number() OVER () - 1 AS original, * FROM orders.orders"
            .to_owned(),
        "TRUNCATE orders.orders".to_owned(),
        format!(
            "INSERT INTO orders.orders ({}) SELECT {} \
             FROM generate_series(0::bigint, {orders} - 1) AS n \
             JOIN originals ON original = n % {ORIGINALS} ORDER BY n",
            names.join(", "),
            values.join(", ")
        ),
        "VACUUM ANALYZE orders.orders".to_owned(),
        "CHECKPOINT".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut administrator).await?;
    }
    Ok(administrator.close().await?)
}

/// The env's database, as its superuser.
pub fn address(env: &TestEnvironment) -> anyhow::Result<String> {
    let (server, _) =
        env.servers.postgres.rsplit_once('/').context("the address names a database")?;
    Ok(format!("{server}/{}_orders", env.name))
}
