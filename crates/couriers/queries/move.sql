-- move
-- Gives the order $1 to the courier $2. The caller holds the advisory lock, the order's row in
-- order_states, and the rows of both couriers; $7 is the courier who has the row of the delivery
-- now, if there is one, and $8 is true if they carry the order.
WITH
-- Not before the last entry of the delivery, even if the clock was set back.
clock AS (SELECT greatest(clock_timestamp(), $9::timestamptz) AS now),
moved AS (
    INSERT INTO couriers.courier_orders AS delivery
        (order_id, courier_id, transport_type, assigned_at, deadline, by_hand)
    SELECT $1, id, transport_type, clock.now, clock.now + make_interval(secs => CASE transport_type
        WHEN 'on_foot' THEN $3::double precision
        WHEN 'scooter' THEN $4::double precision
        ELSE $5::double precision
    END), true
    FROM couriers.couriers CROSS JOIN clock WHERE id = $2
    ON CONFLICT (order_id) DO UPDATE SET
        courier_id = excluded.courier_id,
        transport_type = excluded.transport_type,
        assigned_at = excluded.assigned_at,
        deadline = excluded.deadline,
        by_hand = true,
        overdue_at = NULL,
        released_at = NULL
    RETURNING order_id, courier_id, transport_type, assigned_at, deadline
),
-- Both couriers; they may be the same one, who gets a released order back.
changed AS (
    UPDATE couriers.couriers AS courier SET
        deliveries = courier.deliveries + (courier.id = $2)::integer
            - (courier.id IS NOT DISTINCT FROM $7::bigint)::integer,
        status = CASE
            WHEN courier.id = $2 THEN 'busy'
            WHEN $8::boolean AND courier.status = 'busy' THEN 'available'
            ELSE courier.status
        END,
        free_since = CASE
            WHEN courier.id <> $2 AND $8 THEN moved.assigned_at ELSE courier.free_since
        END
    FROM moved
    WHERE courier.id IN ($2, $7)
),
logged AS (
    INSERT INTO couriers.delivery_log
        (at, status, order_id, courier_id, from_courier_id, transport_type, deadline, cause, actor)
    SELECT assigned_at, CASE WHEN $7 IS NULL THEN 'assigned' ELSE 'reassigned' END, order_id, courier_id,
        $7, transport_type, deadline, 'manual', $6::text
    FROM moved
    RETURNING number, order_id, at, status, courier_id, transport_type, deadline, cause
),
to_send AS (
    INSERT INTO couriers.delivery_outbox
        (number, order_id, at, status, courier_id, transport_type, deadline, cause)
    TABLE logged
)
-- The order leaves the queue, held or not. A `created` event that comes later is a repeat.
UPDATE couriers.order_states AS stored SET
    created_at = coalesce(stored.created_at, moved.assigned_at),
    waiting_since = NULL,
    held_at = NULL,
    taken_from = NULL
FROM moved
WHERE stored.order_id = moved.order_id
RETURNING moved.courier_id, moved.transport_type, moved.deadline
