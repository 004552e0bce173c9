-- find_front
-- The caller holds the advisory lock. The front moves back to whom the caller knows of, and on to
-- the first who is there; with nobody there it stays.
WITH front AS (
    SELECT least(waiting.last_value, $1::bigint) AS waiting,
        least(available.last_value, $2::bigint) AS available
    FROM couriers.waiting_front AS waiting, couriers.available_front AS available
)
SELECT
    setval('couriers.waiting_front', coalesce((
        SELECT (extract(epoch FROM waiting_since) * 1000000)::bigint FROM couriers.order_states
        WHERE waiting_since >= 'epoch'::timestamptz + front.waiting * interval '1 microsecond'
            AND held_at IS NULL
        ORDER BY waiting_since, order_id LIMIT 1
    ), front.waiting)) AS "waiting!",
    setval('couriers.available_front', coalesce((
        SELECT deliveries FROM couriers.couriers
        WHERE status = 'available' AND deliveries >= front.available
        ORDER BY deliveries, free_since, id LIMIT 1
    ), front.available)) AS "available!"
FROM front
