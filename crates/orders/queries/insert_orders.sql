-- insert_orders
-- Orders that are not known yet, each with version 1; those that are known stay as they are.
-- Sorted by key, so that two writers never wait for each other in a circle.
INSERT INTO orders.orders (
    order_uid, track_number, entry, delivery_name, delivery_phone, delivery_zip, delivery_city,
    delivery_address, delivery_region, delivery_email, payment_transaction, payment_request_id,
    payment_currency, payment_provider, payment_amount, payment_dt, payment_bank,
    payment_delivery_cost, payment_goods_total, payment_custom_fee, items, locale,
    internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard,
    warnings, content_hash, source_timestamp, source_partition, source_offset
)
SELECT
    order_uid, track_number, entry, delivery_name, delivery_phone, delivery_zip, delivery_city,
    delivery_address, delivery_region, delivery_email, payment_transaction, payment_request_id,
    payment_currency, payment_provider, payment_amount, payment_dt, payment_bank,
    payment_delivery_cost, payment_goods_total, payment_custom_fee, items::jsonb, locale,
    internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard,
    string_to_array(warnings, ' '), content_hash, source_timestamp, source_partition,
    source_offset
FROM UNNEST (
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
        $15::bigint[], $16::bigint[], $17::text[], $18::bigint[], $19::bigint[], $20::bigint[],
        $21::text[], $22::text[], $23::text[], $24::text[], $25::text[], $26::text[],
        $27::bigint[], $28::timestamptz[], $29::text[], $30::text[], $31::bytea[],
        $32::timestamptz[], $33::integer[], $34::bigint[]
    ) AS incoming (
        order_uid, track_number, entry, delivery_name, delivery_phone, delivery_zip,
        delivery_city, delivery_address, delivery_region, delivery_email, payment_transaction,
        payment_request_id, payment_currency, payment_provider, payment_amount, payment_dt,
        payment_bank, payment_delivery_cost, payment_goods_total, payment_custom_fee, items,
        locale, internal_signature, customer_id, delivery_service, shardkey, sm_id,
        date_created, oof_shard, warnings, content_hash, source_timestamp, source_partition,
        source_offset
    )
ORDER BY order_uid
ON CONFLICT (order_uid) DO NOTHING
RETURNING order_uid
