-- release_overdue
WITH
-- Deliveries that nobody has completed long after their deadline. An order that somebody is
-- changing is left to the next sweep.
overdue AS (
    SELECT delivery.order_id
    FROM couriers.courier_orders AS delivery JOIN couriers.order_states AS stored USING (order_id)
    WHERE delivery.deadline < now() - make_interval(secs => $1::double precision)
        AND delivery.completed_at IS NULL AND delivery.released_at IS NULL
    ORDER BY delivery.deadline
    LIMIT 2000
    FOR NO KEY UPDATE OF stored SKIP LOCKED
),
released AS (
    UPDATE couriers.courier_orders AS delivery SET released_at = clock_timestamp()
    FROM overdue
    WHERE delivery.order_id = overdue.order_id
        AND delivery.completed_at IS NULL AND delivery.released_at IS NULL
    RETURNING delivery.order_id, delivery.courier_id
),
-- Locked in the order of their keys.
touched AS (
    SELECT id FROM couriers.couriers AS courier JOIN released ON courier.id = released.courier_id
    ORDER BY id
    FOR NO KEY UPDATE OF courier
)
UPDATE couriers.couriers AS courier SET
    status = CASE WHEN courier.status = 'busy' THEN 'available' ELSE courier.status END,
    free_since = clock_timestamp()
FROM touched JOIN released ON released.courier_id = touched.id
WHERE courier.id = touched.id
RETURNING released.order_id, courier.id AS courier_id
