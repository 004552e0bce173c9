-- release_overdue
WITH
-- Active deliveries whose deadline and grace period ($1, seconds) passed before $2. The order's row
-- in order_states is locked first, as every writer does; an order that another transaction is
-- changing is left to the next sweep. A delivery is overdue in the log before it is released.
overdue AS (
    SELECT delivery.order_id
    FROM couriers.active_deliveries AS delivery JOIN couriers.order_states AS stored USING (order_id)
    WHERE delivery.overdue_at IS NOT NULL
        AND delivery.deadline < $2::timestamptz - make_interval(secs => $1::double precision)
    ORDER BY delivery.deadline
    LIMIT 2000
    FOR NO KEY UPDATE OF stored SKIP LOCKED
),
-- Through the view, the condition is checked again on the current version of the row: a delivery
-- that ended while this statement waited is left alone.
released AS (
    UPDATE couriers.active_deliveries AS delivery
    SET released_at = greatest(clock_timestamp(), delivery.overdue_at)
    FROM overdue
    WHERE delivery.order_id = overdue.order_id
    RETURNING delivery.order_id, delivery.courier_id, delivery.transport_type, delivery.deadline,
        delivery.released_at
),
logged AS (
    INSERT INTO couriers.delivery_log
        (at, status, order_id, courier_id, transport_type, deadline, cause)
    SELECT released_at, 'released', order_id, courier_id, transport_type, deadline, 'sweep' FROM released
    RETURNING number, order_id, at, status, courier_id, transport_type, deadline, cause
),
to_send AS (
    INSERT INTO couriers.delivery_outbox
        (number, order_id, at, status, courier_id, transport_type, deadline, cause)
    TABLE logged
),
-- Locked in the order of their keys, so that two writers never deadlock.
locked AS (
    SELECT id FROM couriers.couriers AS courier JOIN released ON courier.id = released.courier_id
    ORDER BY id
    FOR NO KEY UPDATE OF courier
)
-- A paused courier stays paused.
UPDATE couriers.couriers AS courier SET
    status = CASE WHEN courier.status = 'busy' THEN 'available' ELSE courier.status END,
    free_since = clock_timestamp()
FROM locked JOIN released ON released.courier_id = locked.id
WHERE courier.id = locked.id
RETURNING released.order_id AS "order_id!", courier.id AS courier_id
