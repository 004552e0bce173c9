-- rows_without_courier
-- The orders of one list: $1 is waiting, held or released. A condition on a parameter alone is checked
-- once, so a part that it excludes reads nothing; each other part is a range of one index. $2 is the
-- earliest time; the rows are after ($3, $4), and not after ($5, $6).
SELECT order_id AS "order_id!", since AS "since!", courier_id, name AS "name?"
FROM (
    (SELECT order_id, waiting_since AS since, NULL::bigint AS courier_id FROM couriers.order_states
    WHERE $1::text = 'waiting' AND waiting_since IS NOT NULL AND held_at IS NULL
        AND waiting_since >= coalesce($2::timestamptz, '-infinity')
        AND waiting_since >= coalesce($3::timestamptz, '-infinity')
        AND ($3 IS NULL OR (waiting_since, order_id) > ($3, $4::text COLLATE "C"))
        AND waiting_since <= coalesce($5::timestamptz, 'infinity')
        AND ($5 IS NULL OR (waiting_since, order_id) <= ($5, $6::text COLLATE "C"))
    ORDER BY waiting_since, order_id LIMIT $7)
    UNION ALL
    (SELECT order_id, held_at, taken_from FROM couriers.order_states
    WHERE $1 = 'held' AND held_at IS NOT NULL
        AND held_at >= coalesce($2, '-infinity') AND held_at >= coalesce($3, '-infinity')
        AND ($3 IS NULL OR (held_at, order_id) > ($3, $4 COLLATE "C"))
        AND held_at <= coalesce($5, 'infinity')
        AND ($5 IS NULL OR (held_at, order_id) <= ($5, $6 COLLATE "C"))
    ORDER BY held_at, order_id LIMIT $7)
    UNION ALL
    (SELECT order_id, released_at, courier_id FROM couriers.courier_orders
    WHERE $1 = 'released' AND released_at IS NOT NULL AND completed_at IS NULL
        AND released_at >= coalesce($2, '-infinity') AND released_at >= coalesce($3, '-infinity')
        AND ($3 IS NULL OR (released_at, order_id) > ($3, $4 COLLATE "C"))
        AND released_at <= coalesce($5, 'infinity')
        AND ($5 IS NULL OR (released_at, order_id) <= ($5, $6 COLLATE "C"))
    ORDER BY released_at, order_id LIMIT $7)
) AS listed LEFT JOIN couriers.couriers AS courier ON courier.id = courier_id
ORDER BY since, order_id
