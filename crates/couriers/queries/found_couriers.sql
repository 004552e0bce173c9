-- found_couriers
-- The couriers $1, in this sequence.
SELECT courier.id, name, phone, status, courier.transport_type, deliveries, free_since,
    delivery.order_id AS "order_id?"
FROM UNNEST($1::bigint[]) WITH ORDINALITY AS wanted (id, place)
JOIN couriers.couriers AS courier ON courier.id = wanted.id
LEFT JOIN couriers.active_deliveries AS delivery ON delivery.courier_id = courier.id
ORDER BY place
