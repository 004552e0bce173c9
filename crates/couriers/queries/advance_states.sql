-- advance_states
-- Orders that are known already. The caller makes the planner look each up by its key, in the order
-- of the keys, so that two writers never deadlock. Only rows that an event changes are written.
-- The highest rank wins. The first `created` puts the order into the queue, once; a rank from 5 on
-- (completed, cancelled) takes it out.
UPDATE couriers.order_states AS stored SET
    rank = greatest(stored.rank, folded.rank),
    changed_at = CASE WHEN folded.rank > stored.rank THEN folded.changed_at ELSE stored.changed_at END,
    created_at = coalesce(stored.created_at, folded.created_at),
    waiting_since = CASE
        WHEN greatest(stored.rank, folded.rank) >= 5 THEN NULL
        WHEN stored.created_at IS NULL THEN folded.created_at
        ELSE stored.waiting_since
    END,
    held_at = CASE WHEN greatest(stored.rank, folded.rank) >= 5 THEN NULL ELSE stored.held_at END
FROM UNNEST ($1::text[], $2::smallint[], $3::timestamptz[], $4::timestamptz[])
    AS folded (order_id, rank, changed_at, created_at)
WHERE stored.order_id = folded.order_id COLLATE "C"
    AND (folded.rank > stored.rank OR (stored.created_at IS NULL AND folded.created_at IS NOT NULL))
RETURNING stored.order_id, stored.rank
