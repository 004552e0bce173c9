-- match
-- The caller holds the advisory lock: one matcher at a time. It has matched the orders that were taken
-- from a courier (taken_from), each alone, because they must not go back to that courier. The limits
-- of 2,000 are written as constants for the planner: it estimates a limit that it cannot see at a tenth
-- of the table, and then plans to read all of it.
WITH
-- Before the match cursor both indexes hold only dead entries. The cursor moves back to the places
-- that the caller gives, $4 and $5, and then forward to the first live row. A
-- rollback does not undo setval, which is harmless: the first live row is the same before the match.
match_cursor AS (
    SELECT
        'epoch'::timestamptz + interval '1 microsecond' * setval('couriers.waiting_front', coalesce((
            SELECT (extract(epoch FROM waiting_since) * 1000000)::bigint FROM couriers.order_states
            WHERE waiting_since >= 'epoch'::timestamptz + known.waiting * interval '1 microsecond'
                AND held_at IS NULL AND taken_from IS NULL
            ORDER BY waiting_since, order_id LIMIT 1
        ), known.waiting)) AS since,
        setval('couriers.available_front', coalesce((
            SELECT deliveries FROM couriers.couriers
            WHERE status = 'available' AND deliveries >= known.available
            ORDER BY deliveries, free_since, id LIMIT 1
        ), known.available)) AS deliveries
    FROM (
        SELECT least(waiting.last_value, $4::bigint) AS waiting,
            least(available.last_value, $5::bigint) AS available
        FROM couriers.waiting_front AS waiting, couriers.available_front AS available
    ) AS known
),
-- At most this number of pairs is possible. So few couriers are locked without being used. Unlike
-- everywhere else, couriers are locked before orders: locked rows are skipped, so no deadlock follows.
orders AS (
    SELECT count(*) AS number FROM (
        SELECT FROM couriers.order_states
        WHERE waiting_since >= (SELECT since FROM match_cursor)
            AND held_at IS NULL AND taken_from IS NULL
        ORDER BY waiting_since, order_id LIMIT 2000
    ) AS waiting
),
-- Fewest deliveries first, then longest idle. A row that another transaction has locked is skipped:
-- that transaction wakes dispatch when it ends, and the next match sees the row.
-- If $6, an order that has a delivery, and a courier who carries an order, are skipped too, whatever
-- their rows say: a pair with one of them violates a unique index, and then no pair would be matched.
-- Such rows come only from changes of the tables by others; dispatch and the audit report them. OFFSET
-- 0 makes this a lookup for each row: as a join, it could read all deliveries.
available AS (
    SELECT * FROM (
        SELECT id, transport_type FROM couriers.couriers AS courier
        WHERE status = 'available' AND deliveries >= (SELECT deliveries FROM match_cursor)
            AND (NOT $6::boolean OR NOT EXISTS (
                SELECT FROM couriers.active_deliveries AS delivery
                WHERE delivery.courier_id = courier.id OFFSET 0
            ))
        ORDER BY deliveries, free_since, id
        LIMIT (SELECT number FROM orders)
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS locked LIMIT 2000
),
-- Oldest first, one for each courier.
waiting AS (
    SELECT * FROM (
        SELECT order_id FROM couriers.order_states AS state
        WHERE waiting_since >= (SELECT since FROM match_cursor)
            AND held_at IS NULL AND taken_from IS NULL
            AND (NOT $6::boolean OR NOT EXISTS (
                SELECT FROM couriers.courier_orders AS delivery
                WHERE delivery.order_id = state.order_id OFFSET 0
            ))
        ORDER BY waiting_since, order_id
        LIMIT (SELECT count(*) FROM available)
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS locked LIMIT 2000
),
-- The first order with the first courier: UNNEST reads its arrays in parallel and fills the shorter
-- ones with NULL.
assigned AS (
    INSERT INTO couriers.courier_orders
        (order_id, courier_id, transport_type, assigned_at, deadline, by_hand)
    SELECT order_id, courier_id, transport_type, clock.now, clock.now + make_interval(secs => CASE transport_type
        WHEN 'on_foot' THEN $1::double precision
        WHEN 'scooter' THEN $2::double precision
        ELSE $3::double precision
    END), false
    FROM UNNEST(
        ARRAY (SELECT order_id FROM waiting),
        ARRAY (SELECT id FROM available),
        ARRAY (SELECT transport_type FROM available)
    ) AS pair (order_id, courier_id, transport_type)
    CROSS JOIN (SELECT clock_timestamp() AS now) AS clock
    WHERE order_id IS NOT NULL AND courier_id IS NOT NULL
    RETURNING order_id, courier_id, transport_type, assigned_at, deadline
),
busy AS (
    UPDATE couriers.couriers AS courier
    SET status = 'busy', deliveries = courier.deliveries + 1
    FROM assigned WHERE courier.id = assigned.courier_id
),
logged AS (
    INSERT INTO couriers.delivery_log
        (at, status, order_id, courier_id, transport_type, deadline, cause)
    SELECT assigned_at, 'assigned', order_id, courier_id, transport_type, deadline, 'match' FROM assigned
    RETURNING number, order_id, at, status, courier_id, transport_type, deadline, cause
),
to_send AS (
    INSERT INTO couriers.delivery_outbox
        (number, order_id, at, status, courier_id, transport_type, deadline, cause)
    TABLE logged
)
-- An order that is not held has waited since it was created.
UPDATE couriers.order_states AS stored SET waiting_since = NULL
FROM assigned
WHERE stored.order_id = assigned.order_id
RETURNING stored.order_id, assigned.courier_id,
    extract(epoch FROM assigned.assigned_at - stored.created_at)::double precision AS "waited_seconds!"
