-- insert_states
-- Orders that are not known yet; those that are stay as they are. Sorted by key, so that two
-- writers never wait for each other in a circle. A new order has no delivery: nothing else to do.
INSERT INTO couriers.order_states (order_id, rank, changed_at, created_at, waiting_since)
SELECT order_id, rank, changed_at, created_at, CASE WHEN rank < 5 THEN created_at END
FROM UNNEST ($1::text[], $2::smallint[], $3::timestamptz[], $4::timestamptz[])
    AS told (order_id, rank, changed_at, created_at)
ORDER BY order_id COLLATE "C"
ON CONFLICT (order_id) DO NOTHING
RETURNING order_id
