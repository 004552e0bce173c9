-- rows_of_free
-- Those of the couriers $1 who are free, sorted as the match takes them; each is looked up by their key.
SELECT id, name, phone, status, transport_type, deliveries, free_since, NULL::text AS order_id
FROM couriers.couriers AS courier
WHERE id = ANY ($1::bigint[]) AND status = 'available'
    AND NOT EXISTS (
        SELECT FROM couriers.active_deliveries AS delivery
        WHERE delivery.courier_id = courier.id OFFSET 0
    )
ORDER BY deliveries, free_since, id LIMIT $2
