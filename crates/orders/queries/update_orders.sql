-- update_orders
WITH
-- The records of one batch, at most one an order.
incoming AS (
    SELECT * FROM UNNEST (
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::bigint[], $10::timestamptz[], $11::text[], $12::text[], $13::text[],
        $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[],
        $21::text[], $22::text[], $23::bigint[], $24::bigint[], $25::text[], $26::bigint[],
        $27::bigint[], $28::bigint[], $29::jsonb[], $30::text[], $31::bytea[], $32::timestamptz[],
        $33::integer[], $34::bigint[]
    ) AS t (
        order_uid, track_number, entry, locale, internal_signature, customer_id, delivery_service,
        shardkey, sm_id, date_created, oof_shard, delivery_name, delivery_phone, delivery_zip,
        delivery_city, delivery_address, delivery_region, delivery_email, payment_transaction,
        payment_request_id, payment_currency, payment_provider, payment_amount, payment_dt,
        payment_bank, payment_delivery_cost, payment_goods_total, payment_custom_fee, items,
        warnings, content_hash, source_timestamp, source_partition, source_offset
    )
),
-- Only rows that an earlier record made, locked in the order of their keys.
older AS (
    SELECT order_uid, stored.content_hash FROM orders.orders AS stored JOIN incoming USING (order_uid)
    WHERE (stored.source_timestamp, stored.source_partition, stored.source_offset)
        < (incoming.source_timestamp, incoming.source_partition, incoming.source_offset)
    ORDER BY order_uid
    FOR UPDATE OF stored
)
-- Equal content keeps its version: only the position moves on.
UPDATE orders.orders AS stored SET
    version = stored.version + (stored.content_hash <> incoming.content_hash)::integer,
    track_number = incoming.track_number,
    entry = incoming.entry,
    locale = incoming.locale,
    internal_signature = incoming.internal_signature,
    customer_id = incoming.customer_id,
    delivery_service = incoming.delivery_service,
    shardkey = incoming.shardkey,
    sm_id = incoming.sm_id,
    date_created = incoming.date_created,
    oof_shard = incoming.oof_shard,
    delivery_name = incoming.delivery_name,
    delivery_phone = incoming.delivery_phone,
    delivery_zip = incoming.delivery_zip,
    delivery_city = incoming.delivery_city,
    delivery_address = incoming.delivery_address,
    delivery_region = incoming.delivery_region,
    delivery_email = incoming.delivery_email,
    payment_transaction = incoming.payment_transaction,
    payment_request_id = incoming.payment_request_id,
    payment_currency = incoming.payment_currency,
    payment_provider = incoming.payment_provider,
    payment_amount = incoming.payment_amount,
    payment_dt = incoming.payment_dt,
    payment_bank = incoming.payment_bank,
    payment_delivery_cost = incoming.payment_delivery_cost,
    payment_goods_total = incoming.payment_goods_total,
    payment_custom_fee = incoming.payment_custom_fee,
    items = incoming.items,
    warnings = string_to_array(incoming.warnings, ' '),
    content_hash = incoming.content_hash,
    source_timestamp = incoming.source_timestamp,
    source_partition = incoming.source_partition,
    source_offset = incoming.source_offset
FROM incoming JOIN older USING (order_uid)
WHERE stored.order_uid = incoming.order_uid
