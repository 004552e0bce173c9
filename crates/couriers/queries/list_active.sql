-- list_active
-- Each part is a range of one index, in the order of the index, so it is read no further than needed.
-- A condition on a parameter alone is checked once, so a part that it excludes reads nothing.
SELECT order_id AS "order_id!", overdue_at IS NOT NULL AS "is_overdue!", courier_id AS "courier_id!",
    transport_type AS "transport_type!", assigned_at AS "assigned_at!", deadline AS "deadline!",
    by_hand AS "by_hand!", completed_at, released_at
FROM (
    (SELECT * FROM couriers.active_deliveries
    WHERE $1::bigint IS NULL AND overdue_at IS NOT NULL
        AND deadline >= coalesce($2::timestamptz, '-infinity')
        AND deadline >= coalesce($3::timestamptz, '-infinity')
        AND ($3 IS NULL OR (deadline, order_id) > ($3, $4::text COLLATE "C"))
    ORDER BY deadline FETCH FIRST $5 ROWS WITH TIES)
    UNION ALL
    (SELECT * FROM couriers.active_deliveries
    WHERE $1 IS NULL AND overdue_at IS NULL
        AND deadline >= coalesce($2, '-infinity') AND deadline >= coalesce($3, '-infinity')
        AND ($3 IS NULL OR (deadline, order_id) > ($3, $4 COLLATE "C"))
    ORDER BY deadline FETCH FIRST $5 ROWS WITH TIES)
    UNION ALL
    -- At most one.
    SELECT * FROM couriers.active_deliveries
    WHERE courier_id = $1 AND deadline >= coalesce($2, '-infinity')
        AND ($3 IS NULL OR (deadline, order_id) > ($3, $4 COLLATE "C"))
) AS delivery
ORDER BY deadline, order_id LIMIT $5
