-- unassign
-- The caller holds the order's row in order_states. The order is held if $3 is true; otherwise it waits
-- at its old place in the queue, and the match does not give it to the same courier.
WITH
taken AS (
    DELETE FROM couriers.courier_orders WHERE order_id = $1 AND completed_at IS NULL
    RETURNING order_id, courier_id, transport_type, deadline, released_at IS NULL AS was_active,
        -- Not before the last entry of the delivery, even if the clock was set back.
        greatest(clock_timestamp(), assigned_at, overdue_at, released_at) AS taken_at
),
queued AS (
    UPDATE couriers.order_states AS stored SET
        waiting_since = created_at,
        held_at = CASE WHEN $3::boolean THEN taken.taken_at END,
        taken_from = taken.courier_id
    FROM taken WHERE stored.order_id = taken.order_id
),
logged AS (
    INSERT INTO couriers.delivery_log
        (at, status, order_id, courier_id, transport_type, deadline, cause, actor)
    SELECT taken_at, CASE WHEN $3 THEN 'unassigned' ELSE 'requeued' END, order_id, courier_id,
        transport_type, deadline, 'manual', $2::text
    FROM taken
    RETURNING number, order_id, at, status, courier_id, transport_type, deadline, cause
),
to_send AS (
    INSERT INTO couriers.delivery_outbox
        (number, order_id, at, status, courier_id, transport_type, deadline, cause)
    TABLE logged
)
UPDATE couriers.couriers AS courier SET
    deliveries = courier.deliveries - 1,
    status = CASE
        WHEN taken.was_active AND courier.status = 'busy' THEN 'available' ELSE courier.status
    END,
    free_since = CASE WHEN taken.was_active THEN taken.taken_at ELSE courier.free_since END
FROM taken
WHERE courier.id = taken.courier_id
RETURNING courier.id
