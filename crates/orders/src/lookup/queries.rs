//! Orders as they are read from PostgreSQL: one, a page, or all of them. Nothing is written here;
//! that is [`store`](crate::ingest::store).

use events::OrderUid;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use sqlx::{PgConnection, PgPool, error::BoxDynError};
use time::OffsetDateTime;

use crate::order::{
    Delivery, Item, Order, Payment,
    content_hash::{ContentHash, InvalidContentHash},
};

/// Selects whole orders. A checked macro takes literals only, so what these statements have in
/// common can be shared by nothing but a macro.
macro_rules! select_orders {
    ($name:literal, $first:literal $(+ $rest:literal)* $(, $argument:expr)*) => {
        sqlx::query_as!(
            OrderRow,
            "-- " + $name
                + "\nSELECT order_uid, track_number, entry, delivery_name, delivery_phone, \
                   delivery_zip, delivery_city, delivery_address, delivery_region, delivery_email, \
                   payment_transaction, payment_request_id, payment_currency, payment_provider, \
                   payment_amount, payment_dt, payment_bank, payment_delivery_cost, \
                   payment_goods_total, payment_custom_fee, items::text AS \"items!\", locale, \
                   internal_signature, customer_id, delivery_service, shardkey, sm_id, \
                   date_created, oof_shard, version, ingested_at FROM orders.orders "
                + $first $(+ $rest)*
            $(, $argument)*
        )
    };
}

/// So many bytes have room for the JSON of most orders.
const JSON_ROOM: usize = 1_536;

/// An order as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) order_uid: OrderUid,
    /// From 1.
    pub(crate) version: i32,
    /// Of `json`.
    pub(crate) hash: ContentHash,
    /// The canonical order.
    pub(crate) json: Vec<u8>,
}

/// Those of these orders that there are, as they stand.
pub(crate) async fn find(
    connection: &mut PgConnection,
    uids: &[&str],
) -> Result<Vec<View>, sqlx::Error> {
    select_orders!(
        "find_orders",
        "WHERE order_uid = ANY((SELECT $1::text[])::text[])",
        uids as &[&str]
    )
    .fetch(connection)
    .and_then(|row| std::future::ready(row.into_view()))
    .try_collect()
    .await
}

/// Right after one of all orders, newest first.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    ingested_at: OffsetDateTime,
    order_uid: String,
}

/// Orders of a page of the warm-up.
const PAGE: i64 = 2_000;

/// Where the pages of all orders begin, newest first; the first begins with the newest order. Only
/// an index is read, so this runs ahead of those who read the pages.
pub(crate) fn pages(
    pool: &PgPool,
) -> impl Stream<Item = Result<Option<Place>, sqlx::Error>> + Send + '_ {
    let later = stream::try_unfold(None, move |begin: Option<Place>| async move {
        let end = end_of_page(pool, begin.as_ref()).await?;
        Ok(end.map(|place| (Some(place.clone()), Some(place))))
    });
    stream::once(std::future::ready(Ok(None))).chain(later)
}

async fn end_of_page(pool: &PgPool, begin: Option<&Place>) -> Result<Option<Place>, sqlx::Error> {
    let (at, uid) = begin.map(|place| (place.ingested_at, place.order_uid.as_str())).unzip();
    sqlx::query_as!(
        Place,
        "-- end_of_page
         SELECT ingested_at, order_uid FROM orders.orders
         WHERE (ingested_at, order_uid)
               < (coalesce($1, 'infinity'::timestamptz), coalesce($2, ''))
         ORDER BY ingested_at DESC, order_uid DESC OFFSET $3 LIMIT 1",
        at,
        uid,
        PAGE - 1
    )
    .fetch_optional(pool)
    .await
}

/// The orders of the page that begins at `place`, newest first.
pub(crate) async fn page(pool: &PgPool, begin: Option<&Place>) -> Result<Vec<View>, sqlx::Error> {
    let (at, uid) = begin.map(|place| (place.ingested_at, place.order_uid.as_str())).unzip();
    select_orders!(
        "page_of_orders",
        "WHERE (ingested_at, order_uid) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, '')) \
         ORDER BY ingested_at DESC, order_uid DESC LIMIT $3",
        at,
        uid,
        PAGE
    )
    .fetch(pool)
    .and_then(|row| std::future::ready(row.into_view()))
    .try_collect()
    .await
}

/// Which orders to list. Newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    pub(crate) customer_id: Option<String>,
    pub(crate) track_number: Option<String>,
    /// Only what is older than this.
    pub(crate) after: Option<(OffsetDateTime, String)>,
    pub(crate) limit: i64,
}

/// An order of a list: its canonical form and when it was stored.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) view: View,
    pub(crate) ingested_at: OffsetDateTime,
}

/// One page of orders.
pub(crate) async fn list(pool: &PgPool, listing: &Listing) -> Result<Vec<Listed>, sqlx::Error> {
    let Listing { customer_id, track_number, after, limit } = listing;
    let (at, uid) = after.as_ref().map(|(at, uid)| (*at, uid.as_str())).unzip();
    // Each combination of filters is a statement of its own, so that each has its index. The first
    // page is what is older than the end of time.
    macro_rules! page {
        ($filters:literal $(, $argument:expr)*) => {
            select_orders!(
                "list_orders",
                "WHERE " + $filters
                    + "(ingested_at, order_uid) \
                       < (coalesce($1, 'infinity'::timestamptz), coalesce($2, '')) \
                       ORDER BY ingested_at DESC, order_uid DESC LIMIT $3",
                at,
                uid,
                limit
                $(, $argument)*
            )
            .fetch_all(pool)
            .await?
        };
    }
    let rows = match (customer_id, track_number) {
        (None, None) => page!(""),
        (Some(customer), None) => page!("customer_id = $4 AND ", customer),
        (None, Some(track)) => page!("track_number = $4 AND ", track),
        (Some(customer), Some(track)) => {
            page!("customer_id = $4 AND track_number = $5 AND ", customer, track)
        }
    };
    rows.into_iter()
        .map(|row| {
            let ingested_at = row.ingested_at;
            Ok(Listed { view: row.into_view()?, ingested_at })
        })
        .collect()
}

/// A row of `orders.orders`, as far as it is read.
struct OrderRow {
    order_uid: String,
    track_number: String,
    entry: String,
    delivery_name: String,
    delivery_phone: String,
    delivery_zip: String,
    delivery_city: String,
    delivery_address: String,
    delivery_region: String,
    delivery_email: String,
    payment_transaction: String,
    payment_request_id: String,
    payment_currency: String,
    payment_provider: String,
    payment_amount: i64,
    payment_dt: i64,
    payment_bank: String,
    payment_delivery_cost: i64,
    payment_goods_total: i64,
    payment_custom_fee: i64,
    /// A JSON array.
    items: String,
    locale: String,
    internal_signature: String,
    customer_id: String,
    delivery_service: String,
    shardkey: String,
    sm_id: i64,
    date_created: OffsetDateTime,
    oof_shard: String,
    version: i32,
    ingested_at: OffsetDateTime,
}

impl OrderRow {
    fn into_view(self) -> Result<View, sqlx::Error> {
        let items = serde_json::from_str::<Vec<Item<'_>>>(&self.items)
            .map_err(|error| bad_column("orders.items", error))?;
        let order = Order {
            order_uid: parse_uid("orders.order_uid", &self.order_uid)?,
            track_number: self.track_number.into(),
            entry: self.entry.into(),
            delivery: Delivery {
                name: self.delivery_name.into(),
                phone: self.delivery_phone.into(),
                zip: self.delivery_zip.into(),
                city: self.delivery_city.into(),
                address: self.delivery_address.into(),
                region: self.delivery_region.into(),
                email: self.delivery_email.into(),
            },
            payment: Payment {
                transaction: self.payment_transaction.into(),
                request_id: self.payment_request_id.into(),
                currency: self.payment_currency.into(),
                provider: self.payment_provider.into(),
                amount: self.payment_amount,
                payment_dt: self.payment_dt,
                bank: self.payment_bank.into(),
                delivery_cost: self.payment_delivery_cost,
                goods_total: self.payment_goods_total,
                custom_fee: self.payment_custom_fee,
            },
            items,
            locale: self.locale.into(),
            internal_signature: self.internal_signature.into(),
            customer_id: self.customer_id.into(),
            delivery_service: self.delivery_service.into(),
            shardkey: self.shardkey.into(),
            sm_id: self.sm_id,
            date_created: self.date_created,
            oof_shard: self.oof_shard.into(),
        };
        let json = order.to_json(JSON_ROOM);
        Ok(View {
            order_uid: order.order_uid,
            version: self.version,
            hash: ContentHash::of(&json),
            json,
        })
    }
}

/// The id of an order in a row, where `column` is `table.column`.
pub(crate) fn parse_uid(column: &str, uid: &str) -> Result<OrderUid, sqlx::Error> {
    uid.parse().map_err(|error| bad_column(column, error))
}

/// The hash of an order in a row.
pub(crate) fn parse_hash(hash: &[u8]) -> Result<ContentHash, sqlx::Error> {
    hash.try_into().map_err(|error: InvalidContentHash| bad_column("orders.content_hash", error))
}

/// A row that the database should never hold; `column` is `table.column`.
pub(crate) fn bad_column(column: &str, why: impl Into<BoxDynError>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: format!("orders.{column}"), source: why.into() }
}
