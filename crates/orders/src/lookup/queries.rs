//! The queries that read orders from PostgreSQL: by id, in lists, and page by page for the warm-up.
//! `ingest/` writes them. Nothing here is cached.

use std::future::ready;

use chassis::postgres::{
    errors::bad_column,
    page::{Page, read_page},
    read::read,
    time_limit::{BACKGROUND, LIST},
};
use events::OrderUid;
use futures_util::{
    Stream, StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::order::{
    Delivery, Item, Order, Payment,
    columns::order_columns,
    content_hash::{ContentHash, InvalidContentHash},
};

/// Selects whole orders. The checked macros accept only literals, so the statements can share text
/// only through a macro.
macro_rules! select_orders {
    ($name:literal, $first:literal $(+ $rest:literal)* $(, $argument:expr)*) => {
        select_order_rows!(
            OrderRow,
            "version, ingested_at",
            $name,
            $first $(+ $rest)*
            $(, $argument)*
        )
    };
}

/// Selects whole orders as rows of a type that has further columns.
macro_rules! select_order_rows {
    (
        $Row:ident, $columns:literal, $name:literal, $first:literal $(+ $rest:literal)*
        $(, $argument:expr)*
    ) => {
        sqlx::query_as!(
            $Row,
            "-- " + $name
                + "\nSELECT order_uid, track_number, entry, locale, internal_signature, customer_id, \
                   delivery_service, shardkey, sm_id, date_created, oof_shard, delivery_name, \
                   delivery_phone, delivery_zip, delivery_city, delivery_address, \
                   delivery_region, delivery_email, payment_transaction, payment_request_id, \
                   payment_currency, payment_provider, payment_amount, payment_dt, payment_bank, \
                   payment_delivery_cost, payment_goods_total, payment_custom_fee, \
                   items::text AS \"items!\", "
                + $columns
                + " "
                + $first $(+ $rest)*
            $(, $argument)*
        )
    };
}

/// The capacity that is enough for the JSON of most orders.
const USUAL_JSON_BYTES: usize = 1_536;

/// An order as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) order_uid: OrderUid,
    /// Starts at 1.
    pub(crate) version: i32,
    /// The hash of `json`.
    pub(crate) hash: ContentHash,
    /// The canonical order.
    pub(crate) json: Vec<u8>,
}

/// Reads those orders of `uids` that are stored.
pub(crate) async fn find_orders(
    connection: &mut PgConnection,
    uids: &[&str],
) -> Result<Vec<View>, sqlx::Error> {
    select_orders!(
        "find_orders",
        "FROM orders.orders WHERE order_uid = ANY((SELECT $1::text[])::text[])",
        uids as &[&str]
    )
    .fetch(connection)
    .and_then(|row| ready(row.into_view()))
    .try_collect()
    .await
}

/// A page of the warm-up: the orders after a position.
#[derive(Debug, Clone)]
pub(crate) struct WarmUpPage {
    /// The last order of the page before; `None` for the first page, which starts with the newest
    /// order.
    start: Option<PageStart>,
    orders: i64,
}

#[derive(Debug, Clone)]
struct PageStart {
    ingested_at: OffsetDateTime,
    order_uid: String,
}

/// Returns all pages, newest first; `page_orders` gives the number of orders of the next one. Only
/// an index is read, so this is faster than reading the pages.
pub(crate) fn pages<'a>(
    pool: &'a PgPool,
    page_orders: impl Fn() -> i64 + Send + Sync + 'a,
) -> impl Stream<Item = Result<WarmUpPage, sqlx::Error>> + Send + 'a {
    let page_orders = std::sync::Arc::new(page_orders);
    stream::try_unfold(None, move |before: Option<WarmUpPage>| {
        let page_orders = page_orders.clone();
        async move {
            let start = match before {
                None => None,
                Some(before) => match end_of_page(pool, &before).await? {
                    Some(last) => Some(last),
                    None => return Ok(None),
                },
            };
            let page = WarmUpPage { start, orders: page_orders() };
            Ok(Some((page.clone(), Some(page))))
        }
    })
}

async fn end_of_page(pool: &PgPool, page: &WarmUpPage) -> Result<Option<PageStart>, sqlx::Error> {
    read(pool, BACKGROUND, async |connection| end_of_page_on(connection, page).await).await
}

async fn end_of_page_on(
    connection: &mut PgConnection,
    page: &WarmUpPage,
) -> Result<Option<PageStart>, sqlx::Error> {
    let start = page.start.as_ref();
    let (at, uid) = start.map(|last| (last.ingested_at, last.order_uid.as_str())).unzip();
    sqlx::query_as!(
        PageStart,
        "-- end_of_page
         SELECT ingested_at, order_uid FROM orders.orders
         WHERE (ingested_at, order_uid)
               < (coalesce($1, 'infinity'::timestamptz), coalesce($2, ''))
         ORDER BY ingested_at DESC, order_uid DESC OFFSET $3 LIMIT 1",
        at,
        uid,
        page.orders - 1
    )
    .fetch_optional(connection)
    .await
}

/// Reads a page of orders, newest first, one row at a time.
pub(crate) fn page<'c>(
    connection: &'c mut PgConnection,
    page: &WarmUpPage,
) -> BoxStream<'c, Result<View, sqlx::Error>> {
    let start = page.start.as_ref();
    let (at, uid) = start.map(|last| (last.ingested_at, last.order_uid.as_str())).unzip();
    select_orders!(
        "page_of_orders",
        "FROM orders.orders \
         WHERE (ingested_at, order_uid) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, '')) \
         ORDER BY ingested_at DESC, order_uid DESC LIMIT $3",
        at,
        uid,
        page.orders
    )
    .fetch(connection)
    .and_then(|row| ready(row.into_view()))
    .boxed()
}

/// A filter for a list of orders, newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    pub(crate) customer_id: Option<String>,
    pub(crate) track_number: Option<String>,
    /// Only orders older than this one.
    pub(crate) after: Option<(OffsetDateTime, String)>,
    pub(crate) limit: i64,
}

#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) view: View,
    pub(crate) ingested_at: OffsetDateTime,
}

/// Reads one page of a list.
pub(crate) async fn list(pool: &PgPool, listing: &Listing) -> Result<Page<Listed>, sqlx::Error> {
    let Listing { customer_id, track_number, after, limit } = listing;
    let (at, uid) = after.as_ref().map(|(at, uid)| (*at, uid.as_str())).unzip();
    // Each combination of filters has its own statement, so that each uses its index. The first
    // page has no cursor and begins before the time `infinity`, which is later than any order.
    macro_rules! page {
        ($from:literal $($filters:literal)?; $order:literal $(, $argument:expr)*) => {
            select_orders!(
                "list_orders",
                $from
                    $(+ $filters)?
                    + "(ingested_at, order_uid) \
                       < (coalesce($1, 'infinity'::timestamptz), coalesce($2, '')) "
                    + $order
                    + "ORDER BY ingested_at DESC, order_uid DESC LIMIT $3",
                at,
                uid,
                limit + 1
                $(, $argument)*
            )
        };
    }
    // The indexes of the filters end with the time: the id would make them much larger. So a page is
    // read in the order of the time, with all orders that have the time of its last one, and only
    // these are sorted. They are at most a page and a batch, however many orders match and whatever
    // the planner estimates.
    macro_rules! filtered_page {
        ($filters:literal $(, $argument:expr)*) => {
            page!(
                "FROM (SELECT * FROM orders.orders WHERE " $filters;
                "ORDER BY ingested_at DESC FETCH FIRST $3 ROWS WITH TIES) AS newest "
                $(, $argument)*
            )
        };
    }
    read(pool, LIST, async |connection| {
        let rows = match (customer_id, track_number) {
            (None, None) => page!("FROM orders.orders WHERE "; "").fetch(connection),
            (Some(customer), None) => {
                filtered_page!("customer_id = $4 AND ", customer).fetch(connection)
            }
            (None, Some(track)) => {
                filtered_page!("track_number = $4 AND ", track).fetch(connection)
            }
            (Some(customer), Some(track)) => {
                filtered_page!("customer_id = $4 AND track_number = $5 AND ", customer, track)
                    .fetch(connection)
            }
        };
        let listed = rows.and_then(|row| {
            let ingested_at = row.ingested_at;
            ready(row.into_view().map(|view| Listed { view, ingested_at }))
        });
        read_page(listed, *limit, |listed| listed.view.json.len()).await
    })
    .await
}

/// An order in a list that shows only ids.
#[derive(Debug, Clone)]
pub(crate) struct NewestOrder {
    pub(crate) uid: OrderUid,
    pub(crate) ingested_at: OffsetDateTime,
}

/// Reads the ids of the newest orders, or of the newest ones with a track number.
pub(crate) async fn newest(
    pool: &PgPool,
    track_number: Option<&str>,
    limit: i64,
) -> Result<Vec<NewestOrder>, sqlx::Error> {
    struct Row {
        order_uid: String,
        ingested_at: OffsetDateTime,
    }
    // Two statements, so that each uses its index; the second one reads as a filtered page does.
    let rows = read(pool, LIST, async |connection| match track_number {
        None => {
            sqlx::query_as!(
                Row,
                "-- newest_orders\n\
                 SELECT order_uid, ingested_at FROM orders.orders \
                 ORDER BY ingested_at DESC, order_uid DESC LIMIT $1",
                limit
            )
            .fetch_all(connection)
            .await
        }
        Some(track_number) => {
            sqlx::query_as!(
                Row,
                "-- newest_orders_by_track_number\n\
                 SELECT order_uid, ingested_at FROM ( \
                     SELECT * FROM orders.orders WHERE track_number = $1 \
                     ORDER BY ingested_at DESC FETCH FIRST $2 ROWS WITH TIES \
                 ) AS newest ORDER BY ingested_at DESC, order_uid DESC LIMIT $2",
                track_number,
                limit
            )
            .fetch_all(connection)
            .await
        }
    });
    let newest = |row: Row| {
        let uid = parse_uid("orders.orders.order_uid", &row.order_uid)?;
        Ok(NewestOrder { uid, ingested_at: row.ingested_at })
    };
    rows.await?.into_iter().map(newest).collect()
}

macro_rules! order_row {
    (
        ($(#[$attribute:meta])* $Row:ident { $($more:ident: $more_type:ty,)* })
        { $($column:ident: $type:ty,)* }
        $($part:ident: $Part:ident { $($part_column:ident: $part_type:ty = $part_field:ident,)* })*
    ) => {
        $(#[$attribute])*
        pub(crate) struct $Row {
            pub(crate) order_uid: String,
            $($column: $type,)*
            $($($part_column: $part_type,)*)*
            /// A JSON array.
            pub(crate) items: String,
            $(pub(crate) $more: $more_type,)*
        }

        impl $Row {
            /// Makes the order of the columns. The caller has parsed the id and the items.
            pub(crate) fn into_order(self, order_uid: OrderUid, items: Vec<Item<'_>>) -> Order<'_> {
                Order {
                    order_uid,
                    $($column: self.$column.into(),)*
                    $($part: $Part { $($part_field: self.$part_column.into(),)* },)*
                    items,
                }
            }
        }
    };
}

order_columns!(order_row!(
    /// The columns of `orders.orders` that are read.
    OrderRow { version: i32, ingested_at: OffsetDateTime, }
));

impl OrderRow {
    fn into_view(mut self) -> Result<View, sqlx::Error> {
        let items = std::mem::take(&mut self.items);
        let items = serde_json::from_str::<Vec<Item<'_>>>(&items);
        let items = items.map_err(|error| bad_column("orders.orders.items", error))?;
        let order_uid = parse_uid("orders.orders.order_uid", &self.order_uid)?;
        let version = self.version;
        // The hash is computed, not read: a row that an earlier version stored may have a hash of
        // another algorithm, and the `ETag` must match the JSON that is served.
        let order = self.into_order(order_uid, items);
        let json = order.to_json(USUAL_JSON_BYTES);
        let (order_uid, hash) = (order.order_uid, ContentHash::of(&json));
        Ok(View { order_uid, version, hash, json })
    }
}

order_columns!(order_row!(
    /// All columns of `orders.orders`, for the audit.
    AuditedRow {
        warnings: Vec<String>,
        version: i32,
        content_hash: Vec<u8>,
        source_timestamp: OffsetDateTime,
        source_partition: i32,
        source_offset: i64,
        ingested_at: OffsetDateTime,
    }
));

/// Reads all rows of `orders`, or those with the ids `uids`, for the audit. Times that only a manual
/// change can write are clamped, or left out with their row: they could not be read.
pub(crate) fn audited<'c>(
    connection: &'c mut PgConnection,
    uids: Option<&'c [String]>,
) -> BoxStream<'c, Result<AuditedRow, sqlx::Error>> {
    select_order_rows!(
        AuditedRow,
        "warnings, version, content_hash, \
         greatest('epoch', least(source_timestamp, '9999-12-31T23:59:59.999Z')) \
             AS \"source_timestamp!\", \
         source_partition, source_offset, \
         greatest('epoch', least(ingested_at, '9999-12-31T23:59:59.999Z')) AS \"ingested_at!\"",
        "audit_orders",
        "FROM orders.orders WHERE ($1::text[] IS NULL OR order_uid = ANY ($1)) \
             AND date_created BETWEEN '0001-01-01T00:00:00Z BC' AND '9999-12-31T23:59:59.999999Z'",
        uids
    )
    .fetch(connection)
}

/// Reads the ids of the rows that [`audited`] leaves out.
pub(crate) async fn undated(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "-- audit_undated\n\
         SELECT order_uid FROM orders.orders WHERE date_created \
             NOT BETWEEN '0001-01-01T00:00:00Z BC' AND '9999-12-31T23:59:59.999999Z'"
    )
    .fetch_all(connection)
    .await
}

/// Parses the id of an order in a row; `column` is `schema.table.column`.
pub(crate) fn parse_uid(column: &str, uid: &str) -> Result<OrderUid, sqlx::Error> {
    uid.parse().map_err(|error| bad_column(column, error))
}

pub(crate) fn parse_hash(hash: &[u8]) -> Result<ContentHash, sqlx::Error> {
    hash.try_into()
        .map_err(|error: InvalidContentHash| bad_column("orders.orders.content_hash", error))
}
