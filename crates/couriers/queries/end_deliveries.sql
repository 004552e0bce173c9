-- end_deliveries
-- The caller has changed, and so holds, the rows of these orders in order_states.
WITH
-- Completed: the row stays for the statistics.
completed AS (
    UPDATE couriers.courier_orders AS delivery SET completed_at = told.completed_at
    FROM UNNEST ($1::text[], $2::timestamptz[]) AS told (order_id, completed_at)
    WHERE delivery.order_id = told.order_id COLLATE "C" AND delivery.completed_at IS NULL
    RETURNING delivery.courier_id, 0 AS deliveries, 1 AS completed,
        (delivery.completed_at <= delivery.deadline)::integer AS on_time,
        delivery.released_at IS NULL AS was_active
),
-- Cancelled: as if there had been no delivery.
cancelled AS (
    DELETE FROM couriers.courier_orders AS delivery
    USING UNNEST ($3::text[]) AS told (order_id)
    WHERE delivery.order_id = told.order_id COLLATE "C"
    RETURNING delivery.courier_id, -1 AS deliveries,
        -(delivery.completed_at IS NOT NULL)::integer AS completed,
        -(delivery.completed_at IS NOT NULL AND delivery.completed_at <= delivery.deadline)::integer
            AS on_time,
        delivery.completed_at IS NULL AND delivery.released_at IS NULL AS was_active
),
-- One row a courier, in the order of their keys.
ended AS (
    SELECT courier_id, sum(deliveries) AS deliveries, sum(completed) AS completed,
        sum(on_time) AS on_time, bool_or(was_active) AS is_freed
    FROM (SELECT * FROM completed UNION ALL SELECT * FROM cancelled) AS delivery
    GROUP BY courier_id
    ORDER BY courier_id
),
-- Only his own active delivery frees a courier; a paused one stays paused.
freed AS (
    UPDATE couriers.couriers AS courier SET
        deliveries = courier.deliveries + ended.deliveries,
        completed = courier.completed + ended.completed,
        on_time = courier.on_time + ended.on_time,
        status = CASE
            WHEN ended.is_freed AND courier.status = 'busy' THEN 'available' ELSE courier.status
        END,
        free_since = CASE
            WHEN ended.is_freed THEN (SELECT clock_timestamp()) ELSE courier.free_since
        END
    FROM ended
    WHERE courier.id = ended.courier_id
    RETURNING courier.deliveries
)
-- How early in the line of those who are available one of them may stand.
SELECT min(deliveries) AS fewest FROM freed
