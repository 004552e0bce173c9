-- assign
-- The caller holds the advisory lock and the order's row in order_states.
WITH
-- Fewest deliveries first, then longest idle, without the courier $6. As in the match, a courier who
-- carries an order is skipped, whatever their status says.
available AS (
    SELECT id, transport_type FROM couriers.couriers AS courier
    WHERE status = 'available' AND id IS DISTINCT FROM $6::bigint
        AND NOT EXISTS (
            SELECT FROM couriers.active_deliveries AS delivery
            WHERE delivery.courier_id = courier.id OFFSET 0
        )
    ORDER BY deliveries, free_since, id
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
),
assigned AS (
    INSERT INTO couriers.courier_orders
        (order_id, courier_id, transport_type, assigned_at, deadline, by_hand)
    SELECT $1, id, transport_type, clock.now, clock.now + make_interval(secs => CASE transport_type
        WHEN 'on_foot' THEN $2::double precision
        WHEN 'scooter' THEN $3::double precision
        ELSE $4::double precision
    END), $7::boolean
    -- Not before the time from which the order is held, even if the clock was set back.
    FROM available CROSS JOIN (
        SELECT greatest(clock_timestamp(), held_at) AS now FROM couriers.order_states WHERE order_id = $1
    ) AS clock
    RETURNING order_id, courier_id, transport_type, assigned_at, deadline
),
busy AS (
    UPDATE couriers.couriers AS courier
    SET status = 'busy', deliveries = courier.deliveries + 1
    FROM assigned WHERE courier.id = assigned.courier_id
),
logged AS (
    INSERT INTO couriers.delivery_log
        (at, status, order_id, courier_id, transport_type, deadline, cause, actor)
    SELECT assigned_at, 'assigned', order_id, courier_id, transport_type, deadline,
        CASE WHEN $7 THEN 'manual' ELSE 'match' END, $5::text
    FROM assigned
    RETURNING number, order_id, at, status, courier_id, transport_type, deadline, cause
),
to_send AS (
    INSERT INTO couriers.delivery_outbox
        (number, order_id, at, status, courier_id, transport_type, deadline, cause)
    TABLE logged
)
-- The order leaves the queue, held or not. A `created` event that comes later is a repeat.
UPDATE couriers.order_states AS stored SET
    created_at = coalesce(stored.created_at, assigned.assigned_at),
    waiting_since = NULL,
    held_at = NULL,
    taken_from = NULL
FROM assigned
WHERE stored.order_id = assigned.order_id
RETURNING assigned.courier_id, assigned.transport_type, assigned.deadline,
    extract(epoch FROM assigned.assigned_at - stored.created_at)::double precision AS "waited_seconds!"
