-- courier_today
-- The deliveries of the courier $1 that are active or released, or were completed since $2, by the time of
-- their assignment. Each part is a range of one index.
SELECT order_id AS "order_id!", overdue_at IS NOT NULL AS "is_overdue!", courier_id AS "courier_id!",
    transport_type AS "transport_type!", assigned_at AS "assigned_at!", deadline AS "deadline!",
    by_hand AS "by_hand!", completed_at, released_at
FROM (
    (SELECT * FROM couriers.courier_orders
    WHERE courier_id = $1 AND completed_at >= $2
    ORDER BY completed_at DESC LIMIT $3)
    UNION ALL
    SELECT * FROM couriers.courier_orders
    WHERE courier_id = $1 AND completed_at IS NULL AND released_at IS NULL
    UNION ALL
    (SELECT * FROM couriers.courier_orders
    WHERE courier_id = $1 AND completed_at IS NULL AND released_at IS NOT NULL
    LIMIT $3)
) AS delivery
ORDER BY assigned_at DESC, order_id
