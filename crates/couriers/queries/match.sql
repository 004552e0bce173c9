-- match
-- The caller holds the advisory lock: one matcher at a time. The limits of 500 are written out,
-- for the planner to know: it takes a limit that it cannot see for a tenth of the table, and reads
-- all of it.
WITH
-- How many pairs there can be, so that no row is locked in vain.
pairs AS (
    SELECT least(
        (SELECT count(*) FROM (
            SELECT FROM couriers.order_states
            WHERE waiting_since IS NOT NULL AND held_at IS NULL
            ORDER BY waiting_since, order_id LIMIT 500
        ) AS waiting),
        (SELECT count(*) FROM (
            SELECT FROM couriers.couriers
            WHERE status = 'available'
            ORDER BY deliveries, free_since, id LIMIT 500
        ) AS available)
    ) AS number
),
-- Oldest first. A row that somebody is changing is left to the match after that change.
waiting AS (
    SELECT * FROM (
        SELECT order_id, waiting_since FROM couriers.order_states
        WHERE waiting_since IS NOT NULL AND held_at IS NULL
        ORDER BY waiting_since, order_id
        LIMIT (SELECT number FROM pairs)
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS locked LIMIT 500
),
-- Fewest deliveries first, then longest idle.
available AS (
    SELECT * FROM (
        SELECT id, transport_type FROM couriers.couriers
        WHERE status = 'available'
        ORDER BY deliveries, free_since, id
        LIMIT (SELECT number FROM pairs)
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS locked LIMIT 500
),
-- The first with the first: both come in the order of their index.
assigned AS (
    INSERT INTO couriers.courier_orders
        (order_id, courier_id, transport_type, assigned_at, deadline, by_hand)
    SELECT order_id, id, transport_type, clock.now, clock.now + make_interval(secs => CASE transport_type
        WHEN 'on_foot' THEN $1::double precision
        WHEN 'scooter' THEN $2::double precision
        ELSE $3::double precision
    END), false
    FROM (SELECT *, row_number() OVER () AS number FROM waiting) AS numbered_orders
    JOIN (SELECT *, row_number() OVER () AS number FROM available) AS numbered_couriers USING (number)
    CROSS JOIN (SELECT clock_timestamp() AS now) AS clock
    RETURNING order_id, courier_id, assigned_at
),
busy AS (
    UPDATE couriers.couriers AS courier
    SET status = 'busy', deliveries = courier.deliveries + 1
    FROM assigned WHERE courier.id = assigned.courier_id
)
UPDATE couriers.order_states AS stored SET waiting_since = NULL
FROM assigned JOIN waiting USING (order_id)
WHERE stored.order_id = assigned.order_id
RETURNING stored.order_id, assigned.courier_id,
    extract(epoch FROM assigned.assigned_at - waiting.waiting_since)::double precision AS "waited_seconds!"
