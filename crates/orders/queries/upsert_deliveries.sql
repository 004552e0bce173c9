-- upsert_deliveries
-- Inserts the deliveries of one batch, one per order, and replaces stored ones that are older.
-- The arrays are sorted by key, so that two writers never wait for each other in a circle.
INSERT INTO orders.order_deliveries AS stored (
    order_uid, since, number, status, courier_id, transport_type, deadline, cause
)
SELECT
    unnest($1::text[]), unnest($2::timestamptz[]), unnest($3::bigint[]), unnest($4::text[]),
    unnest($5::bigint[]), unnest($6::text[]), unnest($7::timestamptz[]), unnest($8::text[])
ON CONFLICT (order_uid) DO UPDATE SET
    since = excluded.since,
    number = excluded.number,
    status = excluded.status,
    courier_id = excluded.courier_id,
    transport_type = excluded.transport_type,
    deadline = excluded.deadline,
    cause = excluded.cause
WHERE (stored.since, stored.number) < (excluded.since, excluded.number)
