//! The columns of `orders.orders` that hold the fields of an order: their only list in Rust.
//!
//! `order_columns!(generate!(arguments))` expands to `generate! { (arguments) <the list> }`.
//! A line of the list is `column: type when read = field`; the group says in which part of the
//! [`Order`](crate::order::Order) the field is. The macros that expand it generate:
//!
//! - the statement `COPY` and its row (`ingest/copied_row.rs`)
//! - the arguments of `insert_orders.sql` and `update_orders.sql` (`ingest/upsert.rs`)
//! - the row that is read, and the order that is made of it (`lookup/queries.rs`)
//!
//! `order_uid` and `items` are not in the list, because these macros treat them differently from a
//! plain value: the id is parsed when it is read, and the items are one JSON array.
//!
//! To add a field:
//!
//! 1. Add it to the struct in `order/mod.rs` and its column to the list. The compiler then asks for
//!    the field in `message.rs`, `rules.rs` and `diagnose.rs`.
//! 2. Add the column to the tables with a migration.
//! 3. Add it to the two SQL files and to `select_orders!` in `lookup/queries.rs`. If the `SELECT`
//!    lacks it, the crate does not compile; a test in `ingest/upsert.rs` compares the SQL files.
//! 4. Run `scripts/sqlx-prepare`.
//!
//! `ARCHITECTURE.md` lists the tests and documents that follow.

macro_rules! order_columns {
    ($generate:ident!($($argument:tt)*)) => {
        $generate! {
            ($($argument)*)
            {
                track_number: String,
                entry: String,
                locale: String,
                internal_signature: String,
                customer_id: String,
                delivery_service: String,
                shardkey: String,
                sm_id: i64,
                date_created: OffsetDateTime,
                oof_shard: String,
            }
            delivery: Delivery {
                delivery_name: String = name,
                delivery_phone: String = phone,
                delivery_zip: String = zip,
                delivery_city: String = city,
                delivery_address: String = address,
                delivery_region: String = region,
                delivery_email: String = email,
            }
            payment: Payment {
                payment_transaction: String = transaction,
                payment_request_id: String = request_id,
                payment_currency: String = currency,
                payment_provider: String = provider,
                payment_amount: i64 = amount,
                payment_dt: i64 = payment_dt,
                payment_bank: String = bank,
                payment_delivery_cost: i64 = delivery_cost,
                payment_goods_total: i64 = goods_total,
                payment_custom_fee: i64 = custom_fee,
            }
        }
    };
}

pub(crate) use order_columns;
