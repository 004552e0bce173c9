-- rows_on_road
-- Active deliveries by their deadline; only overdue ones if $1 is true. Each part is a range of one
-- index. $2 is the earliest time of the assignment, and a deadline is never before the assignment; the
-- rows are after ($3, $4), and not after ($5, $6). The parts have the order of their indexes, so each is
-- read no further than needed: sorted by the order, too, all active deliveries would be read. Only the
-- couriers of the rows that are returned are looked up.
SELECT order_id AS "order_id!", courier_id AS "courier_id!", name AS "name!", status AS "status!",
    delivery.transport_type AS "transport_type!", assigned_at AS "assigned_at!", deadline AS "deadline!"
FROM (
    SELECT * FROM (
        (SELECT * FROM couriers.active_deliveries
        WHERE overdue_at IS NOT NULL
            AND deadline >= coalesce($2::timestamptz, '-infinity')
            AND assigned_at >= coalesce($2, '-infinity')
            AND deadline >= coalesce($3::timestamptz, '-infinity')
            AND ($3 IS NULL OR (deadline, order_id) > ($3, $4::text COLLATE "C"))
            AND deadline <= coalesce($5::timestamptz, 'infinity')
            AND ($5 IS NULL OR (deadline, order_id) <= ($5, $6::text COLLATE "C"))
        ORDER BY deadline FETCH FIRST $7 ROWS WITH TIES)
        UNION ALL
        (SELECT * FROM couriers.active_deliveries
        WHERE overdue_at IS NULL
            AND deadline < CASE WHEN $1::boolean THEN now() ELSE 'infinity' END
            AND deadline >= coalesce($2, '-infinity') AND assigned_at >= coalesce($2, '-infinity')
            AND deadline >= coalesce($3, '-infinity')
            AND ($3 IS NULL OR (deadline, order_id) > ($3, $4 COLLATE "C"))
            AND deadline <= coalesce($5, 'infinity')
            AND ($5 IS NULL OR (deadline, order_id) <= ($5, $6 COLLATE "C"))
        ORDER BY deadline FETCH FIRST $7 ROWS WITH TIES)
    ) AS part ORDER BY deadline, order_id LIMIT $7
) AS delivery JOIN couriers.couriers AS courier ON courier.id = courier_id
ORDER BY deadline, order_id
