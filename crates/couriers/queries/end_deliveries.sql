-- end_deliveries
-- The caller has changed the rows of these orders in order_states, and so has locked them.
WITH
-- Completed: the row stays for the statistics.
completed AS (
    UPDATE couriers.courier_orders AS delivery SET completed_at = ended.completed_at
    FROM UNNEST ($1::text[], $2::timestamptz[]) AS ended (order_id, completed_at)
    WHERE delivery.order_id = ended.order_id COLLATE "C" AND delivery.completed_at IS NULL
    RETURNING delivery.courier_id, 0 AS deliveries, 1 AS completed,
        (delivery.completed_at <= delivery.deadline)::integer AS on_time,
        delivery.released_at IS NULL AS was_active
),
-- Cancelled: the row is deleted, and its courier's counters are as if there had been no delivery.
-- The last column is the condition of the view active_deliveries, which shows no deleted row.
cancelled AS (
    DELETE FROM couriers.courier_orders AS delivery
    USING UNNEST ($3::text[]) AS ended (order_id)
    WHERE delivery.order_id = ended.order_id COLLATE "C"
    RETURNING delivery.courier_id, -1 AS deliveries,
        -(delivery.completed_at IS NOT NULL)::integer AS completed,
        -(delivery.completed_at IS NOT NULL AND delivery.completed_at <= delivery.deadline)::integer
            AS on_time,
        delivery.completed_at IS NULL AND delivery.released_at IS NULL AS was_active
),
-- One row per courier, sorted by key, so that two writers never deadlock.
changes AS (
    SELECT courier_id, sum(deliveries) AS deliveries, sum(completed) AS completed,
        sum(on_time) AS on_time, bool_or(was_active) AS is_freed
    FROM (SELECT * FROM completed UNION ALL SELECT * FROM cancelled) AS delivery
    GROUP BY courier_id
    ORDER BY courier_id
),
-- Only their own active delivery frees a courier; a paused courier stays paused.
freed AS (
    UPDATE couriers.couriers AS courier SET
        deliveries = courier.deliveries + changes.deliveries,
        completed = courier.completed + changes.completed,
        on_time = courier.on_time + changes.on_time,
        status = CASE
            WHEN changes.is_freed AND courier.status = 'busy' THEN 'available' ELSE courier.status
        END,
        free_since = CASE
            WHEN changes.is_freed THEN (SELECT clock_timestamp()) ELSE courier.free_since
        END
    FROM changes
    WHERE courier.id = changes.courier_id
    RETURNING courier.deliveries
)
-- The match cursor of couriers moves back to this place.
SELECT min(deliveries) AS fewest FROM freed
