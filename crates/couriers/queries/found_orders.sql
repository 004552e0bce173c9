-- found_orders
-- The orders whose id begins with $1: a range of the primary key.
SELECT state.order_id, state.rank, state.changed_at, state.waiting_since, state.held_at,
    delivery.courier_id AS "courier_id?", courier.name AS "name?", courier.status AS "courier_status?",
    delivery.transport_type AS "transport_type?", delivery.assigned_at AS "assigned_at?",
    delivery.deadline AS "deadline?", delivery.by_hand IS TRUE AS "by_hand!", delivery.completed_at,
    delivery.released_at, clock_timestamp() AS "now!"
FROM couriers.order_states AS state
LEFT JOIN couriers.courier_orders AS delivery USING (order_id)
LEFT JOIN couriers.couriers AS courier ON courier.id = delivery.courier_id
WHERE state.order_id >= $1::text AND state.order_id < $1 || chr(1114111)
ORDER BY state.order_id LIMIT $2
