-- advance_states
WITH
-- What a batch tells of orders that are known, at most one row an order.
told AS (
    SELECT order_id COLLATE "C" AS order_id, rank, changed_at, created_at
    FROM UNNEST ($1::text[], $2::smallint[], $3::timestamptz[], $4::timestamptz[])
        AS t (order_id, rank, changed_at, created_at)
),
-- Only rows to which that is news, locked in the order of their keys.
stale AS (
    SELECT order_id, stored.rank
    FROM couriers.order_states AS stored JOIN told USING (order_id)
    WHERE told.rank > stored.rank OR (stored.created_at IS NULL AND told.created_at IS NOT NULL)
    ORDER BY order_id
    FOR NO KEY UPDATE OF stored
)
-- The highest rank wins. The first `created` has the order wait, once; an end takes it out of the
-- queue.
UPDATE couriers.order_states AS stored SET
    rank = greatest(stored.rank, told.rank),
    changed_at = CASE WHEN told.rank > stored.rank THEN told.changed_at ELSE stored.changed_at END,
    created_at = coalesce(stored.created_at, told.created_at),
    waiting_since = CASE
        WHEN greatest(stored.rank, told.rank) >= 5 THEN NULL
        WHEN stored.created_at IS NULL THEN told.created_at
        ELSE stored.waiting_since
    END,
    held_at = CASE WHEN greatest(stored.rank, told.rank) >= 5 THEN NULL ELSE stored.held_at END
FROM stale JOIN told USING (order_id)
WHERE stored.order_id = stale.order_id
RETURNING stored.order_id, stale.rank AS before, stored.rank AS after, stored.changed_at
