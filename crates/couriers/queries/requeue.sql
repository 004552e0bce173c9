-- requeue
-- Queues the orders $1 again, which this transaction has released; an order at most twice.
WITH
requeued AS (
    UPDATE couriers.order_states AS stored SET
        waiting_since = stored.created_at,
        requeues = stored.requeues + 1,
        taken_from = delivery.courier_id
    FROM couriers.courier_orders AS delivery
    WHERE stored.order_id = ANY ($1::text[]) AND delivery.order_id = stored.order_id
        AND delivery.released_at IS NOT NULL AND delivery.completed_at IS NULL AND stored.requeues < 2
    RETURNING stored.order_id, stored.waiting_since
),
taken AS (
    DELETE FROM couriers.courier_orders AS delivery USING requeued
    WHERE delivery.order_id = requeued.order_id
    RETURNING delivery.order_id, delivery.courier_id, delivery.transport_type, delivery.deadline,
        greatest(clock_timestamp(), delivery.released_at) AS taken_at
),
-- The rows of these couriers are locked already, by the release.
uncounted AS (
    UPDATE couriers.couriers AS courier SET deliveries = courier.deliveries - 1
    FROM taken WHERE courier.id = taken.courier_id
),
logged AS (
    INSERT INTO couriers.delivery_log
        (at, status, order_id, courier_id, transport_type, deadline, cause)
    SELECT taken_at, 'requeued', order_id, courier_id, transport_type, deadline, 'sweep' FROM taken
    RETURNING number, order_id, at, status, courier_id, transport_type, deadline, cause
)
INSERT INTO couriers.delivery_outbox
    (number, order_id, at, status, courier_id, transport_type, deadline, cause)
TABLE logged
RETURNING order_id
