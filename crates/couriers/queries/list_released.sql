-- list_released
SELECT order_id AS "order_id!", overdue_at IS NOT NULL AS "is_overdue!", courier_id AS "courier_id!",
    transport_type AS "transport_type!", assigned_at AS "assigned_at!", deadline AS "deadline!",
    by_hand AS "by_hand!", completed_at, released_at
FROM (
    (SELECT * FROM couriers.courier_orders
    WHERE $1::bigint IS NULL AND released_at IS NOT NULL AND completed_at IS NULL
        AND released_at >= coalesce($2::timestamptz, '-infinity')
        AND released_at >= coalesce($3::timestamptz, '-infinity')
        AND ($3 IS NULL OR (released_at, order_id) > ($3, $4::text COLLATE "C"))
    ORDER BY released_at, order_id LIMIT $5)
    UNION ALL
    (SELECT * FROM couriers.courier_orders
    WHERE courier_id = $1 AND released_at IS NOT NULL AND completed_at IS NULL
        AND released_at >= coalesce($2, '-infinity')
        AND ($3 IS NULL OR (released_at, order_id) > ($3, $4 COLLATE "C"))
    ORDER BY released_at, order_id LIMIT $5)
) AS delivery
ORDER BY released_at, order_id LIMIT $5
