-- Marks the orders that were completed before the triggers of 0006 existed. A migration of its own,
-- so that the readers of the table do not wait for it. The rows are locked in the order of their
-- keys, as by every other writer, so it does not deadlock with a service that is running.
UPDATE couriers.order_states AS stored SET without_courier = true
FROM (
    SELECT order_id FROM couriers.order_states AS completed
    WHERE rank = 5 AND NOT without_courier
        AND NOT EXISTS (
            SELECT FROM couriers.courier_orders AS delivery
            WHERE delivery.order_id = completed.order_id
        )
    ORDER BY order_id
    FOR NO KEY UPDATE OF completed
) AS completed
WHERE stored.order_id = completed.order_id AND stored.rank = 5;

-- Counted for the statistics. Without the rank, so that a change of the rank alone writes no index.
CREATE INDEX order_states_without_courier ON couriers.order_states (order_id) WHERE without_courier;
