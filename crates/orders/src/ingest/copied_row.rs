//! An order's row, as it is copied into the table. How rows that may be there already are written is
//! in [`upsert`](crate::ingest::upsert).
//!
//! Pure: `order → fields of a row`.

use chassis::postgres::copy::{Fields, JsonText};
use memchr::memmem;

use crate::order::{Order, content_hash::ContentHash};

/// As `queries/insert_orders.sql`, for orders that are all new.
pub(crate) const COPY_ORDERS: &str = "\
    COPY orders.orders (order_uid, track_number, entry, delivery_name, delivery_phone, delivery_zip, \
    delivery_city, delivery_address, delivery_region, delivery_email, payment_transaction, \
    payment_request_id, payment_currency, payment_provider, payment_amount, payment_dt, \
    payment_bank, payment_delivery_cost, payment_goods_total, payment_custom_fee, items, locale, \
    internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard, \
    warnings, content_hash, source_timestamp, source_partition, source_offset) \
    FROM STDIN (FORMAT binary)";

/// What an order has its row hold, field by field as `COPY_ORDERS` names them; only where the record
/// stands is not among it. `json` is its canonical form, and about as long as its row.
pub(crate) fn fields(
    order: &Order<'_>,
    json: &[u8],
    warnings: &[&str],
    hash: ContentHash,
) -> Fields {
    let (delivery, payment) = (&order.delivery, &order.payment);
    let written = Fields::write(json.len(), |row| {
        row.field(order.order_uid.as_str())
            .field(&*order.track_number)
            .field(&*order.entry)
            .field(&*delivery.name)
            .field(&*delivery.phone)
            .field(&*delivery.zip)
            .field(&*delivery.city)
            .field(&*delivery.address)
            .field(&*delivery.region)
            .field(&*delivery.email)
            .field(&*payment.transaction)
            .field(&*payment.request_id)
            .field(&*payment.currency)
            .field(&*payment.provider)
            .field(payment.amount)
            .field(payment.payment_dt)
            .field(&*payment.bank)
            .field(payment.delivery_cost)
            .field(payment.goods_total)
            .field(payment.custom_fee)
            .field(JsonText(items_within(json)))
            .field(&*order.locale)
            .field(&*order.internal_signature)
            .field(&*order.customer_id)
            .field(&*order.delivery_service)
            .field(&*order.shardkey)
            .field(order.sm_id)
            .field(order.date_created)
            .field(&*order.oof_shard)
            .field(warnings)
            .field(hash.as_bytes().as_slice());
    });
    written.expect("an order of a megabyte at most has fields that PostgreSQL takes")
}

/// The items as they stand in the canonical order. Within a text quotes have backslashes before
/// them, so what is looked for stands there once only.
pub(crate) fn items_within(json: &[u8]) -> &[u8] {
    const BEFORE: &[u8] = br#""items":"#;
    let begin = memmem::find(json, BEFORE).expect("an order has items") + BEFORE.len();
    let end = memmem::rfind(json, br#","locale":"#).expect("an order has a locale");
    &json[begin..end]
}
