//! Orders that may be known already: inserted if they are not, replaced if their record is later.
//!
//! Statements take one array a column. Which orders to insert and which to replace, the
//! [`store`](crate::ingest::store) knows.

use chassis::kafka::record::{Position, instant};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::order::{Order, parse::ValidOrder};

/// A query of a file with one array a column.
macro_rules! query_of_columns {
    ($file:tt, $columns:expr) => {
        sqlx::query_file!(
            $file,
            &$columns.order_uid as &[&str],
            &$columns.track_number as &[&str],
            &$columns.entry as &[&str],
            &$columns.delivery_name as &[&str],
            &$columns.delivery_phone as &[&str],
            &$columns.delivery_zip as &[&str],
            &$columns.delivery_city as &[&str],
            &$columns.delivery_address as &[&str],
            &$columns.delivery_region as &[&str],
            &$columns.delivery_email as &[&str],
            &$columns.payment_transaction as &[&str],
            &$columns.payment_request_id as &[&str],
            &$columns.payment_currency as &[&str],
            &$columns.payment_provider as &[&str],
            &$columns.payment_amount,
            &$columns.payment_dt,
            &$columns.payment_bank as &[&str],
            &$columns.payment_delivery_cost,
            &$columns.payment_goods_total,
            &$columns.payment_custom_fee,
            &$columns.items as &[&str],
            &$columns.locale as &[&str],
            &$columns.internal_signature as &[&str],
            &$columns.customer_id as &[&str],
            &$columns.delivery_service as &[&str],
            &$columns.shardkey as &[&str],
            &$columns.sm_id,
            &$columns.date_created,
            &$columns.oof_shard as &[&str],
            &$columns.warnings,
            &$columns.content_hash as &[&[u8]],
            &$columns.source_timestamp,
            &$columns.source_partition,
            &$columns.source_offset,
        )
    };
}

/// An order's latest record: where it stands and what it says.
pub(crate) type Latest<'a> = (Position, &'a ValidOrder);

/// Inserts those of the orders that are new, and tells how many were.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    orders: &[Latest<'_>],
) -> Result<u64, sqlx::Error> {
    let parsed = read_back(orders);
    let columns = Columns::of(orders, &parsed);
    let inserted = query_of_columns!("queries/insert_orders.sql", columns);
    Ok(inserted.execute(connection).await?.rows_affected())
}

/// Has those of the orders replaced whose rows come from an earlier record.
pub(crate) async fn update(
    connection: &mut PgConnection,
    orders: &[Latest<'_>],
) -> Result<(), sqlx::Error> {
    let parsed = read_back(orders);
    let columns = Columns::of(orders, &parsed);
    query_of_columns!("queries/update_orders.sql", columns).execute(connection).await?;
    Ok(())
}

fn read_back<'a>(orders: &[Latest<'a>]) -> Vec<Order<'a>> {
    orders.iter().map(|(_, valid)| valid.order()).collect()
}

/// One array a column, as `UNNEST` takes them.
struct Columns<'a> {
    order_uid: Vec<&'a str>,
    track_number: Vec<&'a str>,
    entry: Vec<&'a str>,
    delivery_name: Vec<&'a str>,
    delivery_phone: Vec<&'a str>,
    delivery_zip: Vec<&'a str>,
    delivery_city: Vec<&'a str>,
    delivery_address: Vec<&'a str>,
    delivery_region: Vec<&'a str>,
    delivery_email: Vec<&'a str>,
    payment_transaction: Vec<&'a str>,
    payment_request_id: Vec<&'a str>,
    payment_currency: Vec<&'a str>,
    payment_provider: Vec<&'a str>,
    payment_amount: Vec<i64>,
    payment_dt: Vec<i64>,
    payment_bank: Vec<&'a str>,
    payment_delivery_cost: Vec<i64>,
    payment_goods_total: Vec<i64>,
    payment_custom_fee: Vec<i64>,
    items: Vec<&'a str>,
    locale: Vec<&'a str>,
    internal_signature: Vec<&'a str>,
    customer_id: Vec<&'a str>,
    delivery_service: Vec<&'a str>,
    shardkey: Vec<&'a str>,
    sm_id: Vec<i64>,
    date_created: Vec<OffsetDateTime>,
    oof_shard: Vec<&'a str>,
    warnings: Vec<String>,
    content_hash: Vec<&'a [u8]>,
    source_timestamp: Vec<OffsetDateTime>,
    source_partition: Vec<i32>,
    source_offset: Vec<i64>,
}

impl<'a> Columns<'a> {
    /// `parsed` are the same orders, read back.
    fn of(orders: &[Latest<'a>], parsed: &'a [Order<'a>]) -> Self {
        let text = |of: fn(&'a Order<'a>) -> &'a str| parsed.iter().map(of).collect();
        let number = |of: fn(&'a Order<'a>) -> i64| parsed.iter().map(of).collect();
        let position = || orders.iter().map(|(position, _)| position);
        let valid = || orders.iter().map(|(_, valid)| *valid);
        Self {
            order_uid: text(|order| order.order_uid.as_str()),
            track_number: text(|order| &order.track_number),
            entry: text(|order| &order.entry),
            delivery_name: text(|order| &order.delivery.name),
            delivery_phone: text(|order| &order.delivery.phone),
            delivery_zip: text(|order| &order.delivery.zip),
            delivery_city: text(|order| &order.delivery.city),
            delivery_address: text(|order| &order.delivery.address),
            delivery_region: text(|order| &order.delivery.region),
            delivery_email: text(|order| &order.delivery.email),
            payment_transaction: text(|order| &order.payment.transaction),
            payment_request_id: text(|order| &order.payment.request_id),
            payment_currency: text(|order| &order.payment.currency),
            payment_provider: text(|order| &order.payment.provider),
            payment_amount: number(|order| order.payment.amount),
            payment_dt: number(|order| order.payment.payment_dt),
            payment_bank: text(|order| &order.payment.bank),
            payment_delivery_cost: number(|order| order.payment.delivery_cost),
            payment_goods_total: number(|order| order.payment.goods_total),
            payment_custom_fee: number(|order| order.payment.custom_fee),
            items: valid().map(|it| it.items_json()).collect(),
            locale: text(|order| &order.locale),
            internal_signature: text(|order| &order.internal_signature),
            customer_id: text(|order| &order.customer_id),
            delivery_service: text(|order| &order.delivery_service),
            shardkey: text(|order| &order.shardkey),
            sm_id: number(|order| order.sm_id),
            date_created: parsed.iter().map(|order| order.date_created).collect(),
            oof_shard: text(|order| &order.oof_shard),
            warnings: valid().map(|it| it.warnings.join(" ")).collect(),
            content_hash: valid().map(|it| it.hash.as_bytes().as_slice()).collect(),
            source_timestamp: position().map(|it| instant(it.timestamp_ms)).collect(),
            source_partition: position().map(|it| it.partition).collect(),
            source_offset: position().map(|it| it.offset).collect(),
        }
    }
}
