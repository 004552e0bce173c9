-- insert_states
-- Orders that are not known yet; rows of known orders stay as they are. Sorted by key, so that two
-- writers never deadlock.
INSERT INTO couriers.order_states (order_id, rank, changed_at, created_at, waiting_since)
SELECT order_id, rank, changed_at, created_at, CASE WHEN rank < 5 THEN created_at END
FROM UNNEST ($1::text[], $2::smallint[], $3::timestamptz[], $4::timestamptz[])
    AS folded (order_id, rank, changed_at, created_at)
ORDER BY order_id COLLATE "C"
ON CONFLICT (order_id) DO NOTHING
RETURNING order_id
