-- insert_status
-- The statuses of orders of which nothing was told before; those that are known stay as they are.
-- Sorted by key, so that two writers never wait for each other in a circle.
INSERT INTO orders.order_status (order_uid, rank, since, "partition", "offset", topic)
SELECT incoming.*, $6
FROM UNNEST ($1::text[], $2::smallint[], $3::timestamptz[], $4::integer[], $5::bigint[])
    AS incoming (order_uid, rank, since, "partition", "offset")
ORDER BY order_uid
ON CONFLICT (order_uid) DO NOTHING
RETURNING order_uid
