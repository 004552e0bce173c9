//! The baseline of ingest: the loop of many similar services. It uses one transaction per message,
//! inserts row by row into four tables with foreign keys, and commits offsets in the background.
//!
//! Within this design it is as fast as possible: typed parsing, prepared statements, one connection
//! without a pool, and auto-commit, which sends four requests per second instead of one per
//! message.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{Consumer as _, StreamConsumer},
    message::BorrowedMessage,
};
use serde::Deserialize;
use sqlx::{Connection as _, PgConnection, Postgres, postgres::PgArguments, query::Query};
use testkit::TestEnvironment;
use tokio::time::timeout;

const TABLES: &str = "
CREATE SCHEMA baseline;
CREATE TABLE baseline.orders (
    order_uid text PRIMARY KEY, track_number text NOT NULL, entry text NOT NULL,
    locale text NOT NULL, internal_signature text NOT NULL, customer_id text NOT NULL,
    delivery_service text NOT NULL, shardkey text NOT NULL, sm_id bigint NOT NULL,
    date_created timestamptz NOT NULL, oof_shard text NOT NULL);
CREATE TABLE baseline.delivery (
    order_uid text PRIMARY KEY REFERENCES baseline.orders, name text NOT NULL,
    phone text NOT NULL, zip text NOT NULL, city text NOT NULL, address text NOT NULL,
    region text NOT NULL, email text NOT NULL);
CREATE TABLE baseline.payment (
    order_uid text PRIMARY KEY REFERENCES baseline.orders, transaction text NOT NULL,
    request_id text NOT NULL, currency text NOT NULL, provider text NOT NULL,
    amount bigint NOT NULL, payment_dt bigint NOT NULL, bank text NOT NULL,
    delivery_cost bigint NOT NULL, goods_total bigint NOT NULL, custom_fee bigint NOT NULL);
CREATE TABLE baseline.items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_uid text NOT NULL REFERENCES baseline.orders, chrt_id bigint NOT NULL,
    track_number text NOT NULL, price bigint NOT NULL, rid text NOT NULL, name text NOT NULL,
    sale bigint NOT NULL, size text NOT NULL, total_price bigint NOT NULL,
    nm_id bigint NOT NULL, brand text NOT NULL, status bigint NOT NULL);
CREATE INDEX items_by_order ON baseline.items (order_uid);";

/// An order, parsed into types but not validated.
#[derive(Deserialize)]
pub(crate) struct Order {
    order_uid: String,
    track_number: String,
    entry: String,
    delivery: Delivery,
    payment: Payment,
    items: Vec<Item>,
    locale: String,
    internal_signature: String,
    customer_id: String,
    delivery_service: String,
    shardkey: String,
    sm_id: i64,
    date_created: String,
    oof_shard: String,
}

#[derive(Deserialize)]
struct Delivery {
    name: String,
    phone: String,
    zip: String,
    city: String,
    address: String,
    region: String,
    email: String,
}

#[derive(Deserialize)]
struct Payment {
    transaction: String,
    request_id: String,
    currency: String,
    provider: String,
    amount: i64,
    payment_dt: i64,
    bank: String,
    delivery_cost: i64,
    goods_total: i64,
    custom_fee: i64,
}

#[derive(Deserialize)]
struct Item {
    chrt_id: i64,
    track_number: String,
    price: i64,
    rid: String,
    name: String,
    sale: i64,
    size: String,
    total_price: i64,
    nm_id: i64,
    brand: String,
    status: i64,
}

/// Stores the first `orders` records of the backlog. Returns the orders per second, measured from
/// the start of the consumer to the last commit.
pub(crate) async fn take(
    env: &TestEnvironment,
    database: &mut PgConnection,
    orders: u64,
) -> anyhow::Result<f64> {
    create_tables(database).await?;
    let begun = Instant::now();
    let consumer = consumer(env, &env.orders_topic())?;
    for _ in 0..orders {
        take_one(&consumer, database).await?;
    }
    let rate = orders as f64 / begun.elapsed().as_secs_f64();
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM baseline.orders")
        .fetch_one(&mut *database)
        .await?;
    ensure!(stored == orders as i64, "the baseline stored {stored} of {orders} orders");
    Ok(rate)
}

pub(crate) async fn create_tables(database: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::raw_sql(TABLES).execute(database).await.context("creating the baseline's tables")?;
    Ok(())
}

/// Stores the next order, and returns its record once the order is committed.
pub(crate) async fn take_one<'a>(
    consumer: &'a StreamConsumer,
    database: &mut PgConnection,
) -> anyhow::Result<BorrowedMessage<'a>> {
    let message = next_message(consumer).await?;
    let value = message.payload().context("the backlog has no null records")?;
    let order: Order = serde_json::from_slice(value).context("the backlog is valid")?;
    store(database, &order).await?;
    consumer.store_offset_from_message(&message)?;
    Ok(message)
}

/// Starts the consumer of a baseline, which commits offsets in the background.
pub(crate) fn consumer(env: &TestEnvironment, topic: &str) -> anyhow::Result<StreamConsumer> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &env.servers.kafka)
        .set("group.id", format!("{}.baseline", env.name))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "250")
        .set("enable.auto.offset.store", "false")
        .create()?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

pub(crate) async fn next_message(consumer: &StreamConsumer) -> anyhow::Result<BorrowedMessage<'_>> {
    let message = timeout(Duration::from_secs(30), consumer.recv()).await;
    Ok(message.context("the baseline waited 30 s for a record")??)
}

async fn store(database: &mut PgConnection, order: &Order) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    insert_order(order).execute(&mut *transaction).await?;
    insert_delivery(&order.order_uid, &order.delivery).execute(&mut *transaction).await?;
    insert_payment(&order.order_uid, &order.payment).execute(&mut *transaction).await?;
    for item in &order.items {
        insert_item(&order.order_uid, item).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

type Insert<'a> = Query<'a, Postgres, PgArguments>;

fn insert_order(order: &Order) -> Insert<'_> {
    sqlx::query(
        "INSERT INTO baseline.orders VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::timestamptz, $11)",
    )
    .bind(&order.order_uid)
    .bind(&order.track_number)
    .bind(&order.entry)
    .bind(&order.locale)
    .bind(&order.internal_signature)
    .bind(&order.customer_id)
    .bind(&order.delivery_service)
    .bind(&order.shardkey)
    .bind(order.sm_id)
    .bind(&order.date_created)
    .bind(&order.oof_shard)
}

fn insert_delivery<'a>(order_uid: &'a str, delivery: &'a Delivery) -> Insert<'a> {
    sqlx::query("INSERT INTO baseline.delivery VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(order_uid)
        .bind(&delivery.name)
        .bind(&delivery.phone)
        .bind(&delivery.zip)
        .bind(&delivery.city)
        .bind(&delivery.address)
        .bind(&delivery.region)
        .bind(&delivery.email)
}

fn insert_payment<'a>(order_uid: &'a str, payment: &'a Payment) -> Insert<'a> {
    sqlx::query(
        "INSERT INTO baseline.payment VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(order_uid)
    .bind(&payment.transaction)
    .bind(&payment.request_id)
    .bind(&payment.currency)
    .bind(&payment.provider)
    .bind(payment.amount)
    .bind(payment.payment_dt)
    .bind(&payment.bank)
    .bind(payment.delivery_cost)
    .bind(payment.goods_total)
    .bind(payment.custom_fee)
}

fn insert_item<'a>(order_uid: &'a str, item: &'a Item) -> Insert<'a> {
    sqlx::query(
        "INSERT INTO baseline.items (order_uid, chrt_id, track_number, price, rid, name, sale, \
         size, total_price, nm_id, brand, status) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(order_uid)
    .bind(item.chrt_id)
    .bind(&item.track_number)
    .bind(item.price)
    .bind(&item.rid)
    .bind(&item.name)
    .bind(item.sale)
    .bind(&item.size)
    .bind(item.total_price)
    .bind(item.nm_id)
    .bind(&item.brand)
    .bind(item.status)
}
