-- insert_orders
-- Orders that are not known yet, each with version 1; those that are known stay as they are.
-- The arrays are sorted by key, so that two writers never wait for each other in a circle. They are
-- unrolled in step, row by row as they are inserted: as a function in FROM they would be kept first.
INSERT INTO orders.orders (
    order_uid, track_number, entry, locale, internal_signature, customer_id, delivery_service,
    shardkey, sm_id, date_created, oof_shard, delivery_name, delivery_phone, delivery_zip,
    delivery_city, delivery_address, delivery_region, delivery_email, payment_transaction,
    payment_request_id, payment_currency, payment_provider, payment_amount, payment_dt,
    payment_bank, payment_delivery_cost, payment_goods_total, payment_custom_fee, items, warnings,
    content_hash, source_timestamp, source_partition, source_offset
)
SELECT
    unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]),
    unnest($5::text[]), unnest($6::text[]), unnest($7::text[]), unnest($8::text[]),
    unnest($9::bigint[]), unnest($10::timestamptz[]), unnest($11::text[]), unnest($12::text[]),
    unnest($13::text[]), unnest($14::text[]), unnest($15::text[]), unnest($16::text[]),
    unnest($17::text[]), unnest($18::text[]), unnest($19::text[]), unnest($20::text[]),
    unnest($21::text[]), unnest($22::text[]), unnest($23::bigint[]), unnest($24::bigint[]),
    unnest($25::text[]), unnest($26::bigint[]), unnest($27::bigint[]), unnest($28::bigint[]),
    unnest($29::jsonb[]), string_to_array(unnest($30::text[]), ' '), unnest($31::bytea[]),
    unnest($32::timestamptz[]), unnest($33::integer[]), unnest($34::bigint[])
ON CONFLICT (order_uid) DO NOTHING
