-- rows_of_couriers
-- The couriers of one list: $1 is available, paused or retired. They are sorted as the match takes them:
-- fewest deliveries first, then longest idle. As in the match, an available courier who carries an order
-- is left out. The rows are after ($2, $3, $4), and not after ($5, $6, $7). Each part is a range of one
-- index.
SELECT id AS "id!", name AS "name!", phone AS "phone!", status AS "status!",
    courier.transport_type AS "transport_type!", deliveries AS "deliveries!", free_since AS "free_since!",
    delivery.order_id AS "order_id?"
FROM (
    (SELECT * FROM couriers.couriers AS free
    WHERE $1::text = 'available' AND status = 'available'
        AND deliveries >= coalesce($2::bigint, 0)
        AND ($2 IS NULL OR (deliveries, free_since, id) > ($2, $3::timestamptz, $4::bigint))
        AND deliveries <= coalesce($5::bigint, 9223372036854775807)
        AND ($5 IS NULL OR (deliveries, free_since, id) <= ($5, $6::timestamptz, $7::bigint))
        AND NOT EXISTS (
            SELECT FROM couriers.active_deliveries AS carried
            WHERE carried.courier_id = free.id OFFSET 0
        )
    ORDER BY deliveries, free_since, id LIMIT $8)
    UNION ALL
    (SELECT * FROM couriers.couriers
    WHERE $1 = 'paused' AND status = 'paused'
        AND deliveries >= coalesce($2, 0)
        AND ($2 IS NULL OR (deliveries, free_since, id) > ($2, $3, $4))
        AND deliveries <= coalesce($5, 9223372036854775807)
        AND ($5 IS NULL OR (deliveries, free_since, id) <= ($5, $6, $7))
    ORDER BY deliveries, free_since, id LIMIT $8)
    UNION ALL
    (SELECT * FROM couriers.couriers
    WHERE $1 = 'retired' AND status = 'retired'
        AND deliveries >= coalesce($2, 0)
        AND ($2 IS NULL OR (deliveries, free_since, id) > ($2, $3, $4))
        AND deliveries <= coalesce($5, 9223372036854775807)
        AND ($5 IS NULL OR (deliveries, free_since, id) <= ($5, $6, $7))
    ORDER BY deliveries, free_since, id LIMIT $8)
) AS courier
-- A courier who is available carries no order, so none is looked up.
LEFT JOIN LATERAL (
    SELECT order_id FROM couriers.active_deliveries
    WHERE $1 <> 'available' AND courier_id = courier.id OFFSET 0
) AS delivery ON true
ORDER BY deliveries, free_since, id
