-- mark_overdue
WITH
-- Active deliveries whose deadline has passed and which have no entry of that yet. Locked as in
-- release_overdue.
late AS (
    SELECT delivery.order_id
    FROM couriers.active_deliveries AS delivery JOIN couriers.order_states AS stored USING (order_id)
    WHERE delivery.overdue_at IS NULL AND delivery.deadline < clock_timestamp()
    ORDER BY delivery.deadline
    LIMIT 2000
    FOR NO KEY UPDATE OF stored SKIP LOCKED
),
-- The conditions are checked again on the current version of the row.
marked AS (
    UPDATE couriers.active_deliveries AS delivery
    SET overdue_at = greatest(clock_timestamp(), delivery.assigned_at)
    FROM late
    WHERE delivery.order_id = late.order_id AND delivery.overdue_at IS NULL
        AND delivery.deadline < clock_timestamp()
    RETURNING delivery.order_id, delivery.courier_id, delivery.transport_type, delivery.deadline,
        delivery.overdue_at
),
logged AS (
    INSERT INTO couriers.delivery_log
        (at, status, order_id, courier_id, transport_type, deadline, cause)
    SELECT overdue_at, 'overdue', order_id, courier_id, transport_type, deadline, 'sweep' FROM marked
    RETURNING number, order_id, at, status, courier_id, transport_type, deadline, cause
)
INSERT INTO couriers.delivery_outbox
    (number, order_id, at, status, courier_id, transport_type, deadline, cause)
TABLE logged
RETURNING order_id
