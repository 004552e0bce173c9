-- advance_states
-- Orders that are known, told by key: the planner is made to look each up in turn, and so two
-- writers never wait for each other in a circle. Only rows to which it is news are touched.
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
FROM UNNEST ($1::text[], $2::smallint[], $3::timestamptz[], $4::timestamptz[])
    AS told (order_id, rank, changed_at, created_at)
WHERE stored.order_id = told.order_id COLLATE "C"
    AND (told.rank > stored.rank OR (stored.created_at IS NULL AND told.created_at IS NOT NULL))
RETURNING stored.order_id, stored.rank, stored.changed_at
