-- insert_new_orders
-- As insert_orders; fails if one of them is known.
INSERT INTO orders.orders (
    order_uid, track_number, entry, delivery_name, delivery_phone, delivery_zip, delivery_city,
    delivery_address, delivery_region, delivery_email, payment_transaction, payment_request_id,
    payment_currency, payment_provider, payment_amount, payment_dt, payment_bank,
    payment_delivery_cost, payment_goods_total, payment_custom_fee, items, locale,
    internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard,
    warnings, content_hash, source_timestamp, source_partition, source_offset
)
SELECT
    unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]),
    unnest($5::text[]), unnest($6::text[]), unnest($7::text[]), unnest($8::text[]),
    unnest($9::text[]), unnest($10::text[]), unnest($11::text[]), unnest($12::text[]),
    unnest($13::text[]), unnest($14::text[]), unnest($15::bigint[]), unnest($16::bigint[]),
    unnest($17::text[]), unnest($18::bigint[]), unnest($19::bigint[]), unnest($20::bigint[]),
    unnest($21::text[])::jsonb, unnest($22::text[]), unnest($23::text[]), unnest($24::text[]),
    unnest($25::text[]), unnest($26::text[]), unnest($27::bigint[]), unnest($28::timestamptz[]),
    unnest($29::text[]), string_to_array(unnest($30::text[]), ' '), unnest($31::bytea[]),
    unnest($32::timestamptz[]), unnest($33::integer[]), unnest($34::bigint[])
