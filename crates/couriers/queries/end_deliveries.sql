-- end_deliveries
-- The caller has changed the rows of these orders in order_states, and so has locked them.
WITH
-- The orders that are completed ($2 is 5) or cancelled (6), each with the position of its event.
ended AS (
    SELECT order_id COLLATE "C" AS order_id, rank, record_timestamp, "partition", "offset", is_certain
    FROM UNNEST ($1::text[], $2::smallint[], $3::timestamptz[], $4::integer[], $5::bigint[], $6::boolean[])
        AS ended (order_id, rank, record_timestamp, "partition", "offset", is_certain)
),
-- Completed: the row stays for the statistics.
completed AS (
    UPDATE couriers.courier_orders AS delivery SET completed_at = ended.record_timestamp
    FROM ended
    WHERE ended.rank = 5 AND delivery.order_id = ended.order_id AND delivery.completed_at IS NULL
    RETURNING delivery.order_id, delivery.courier_id, delivery.transport_type, delivery.deadline,
        delivery.assigned_at, delivery.overdue_at, delivery.released_at, 0 AS deliveries, 1 AS completed,
        (delivery.completed_at <= delivery.deadline)::integer AS on_time,
        delivery.released_at IS NULL AS was_active,
        'completed' AS status, ended.record_timestamp, ended."partition", ended."offset"
),
-- Cancelled: the row is deleted, and its courier's counters are as if there had been no delivery.
-- The column was_active is the condition of the view active_deliveries, which shows no deleted row.
cancelled AS (
    DELETE FROM couriers.courier_orders AS delivery
    USING ended
    WHERE ended.rank = 6 AND delivery.order_id = ended.order_id
    RETURNING delivery.order_id, delivery.courier_id, delivery.transport_type, delivery.deadline,
        delivery.assigned_at, delivery.overdue_at, delivery.released_at, -1 AS deliveries,
        -(delivery.completed_at IS NOT NULL)::integer AS completed,
        -(delivery.completed_at IS NOT NULL AND delivery.completed_at <= delivery.deadline)::integer
            AS on_time,
        delivery.completed_at IS NULL AND delivery.released_at IS NULL AS was_active,
        'cancelled' AS status, ended.record_timestamp, ended."partition", ended."offset"
),
changed AS (
    SELECT * FROM completed UNION ALL SELECT * FROM cancelled
),
logged AS (
    INSERT INTO couriers.delivery_log
        (at, status, order_id, courier_id, transport_type, deadline, cause, topic, "partition", "offset",
            record_timestamp)
    -- Not before the entry of the assignment or of the release, even if the clock was set back.
    SELECT greatest(clock_timestamp(), assigned_at, overdue_at, released_at), status, order_id, courier_id,
        transport_type, deadline, 'event', $7, "partition", "offset", record_timestamp
    FROM changed
    UNION ALL
    -- Orders without a delivery. NOT IN saves the lookups of the orders of `changed`. An order whose row
    -- only got the time of its `created` has ended before, and has its entry.
    SELECT clock_timestamp(), status, order_id, NULL, NULL, NULL, 'event', $7, "partition", "offset",
        record_timestamp
    FROM (SELECT *, CASE rank WHEN 5 THEN 'completed' ELSE 'cancelled' END AS status FROM ended) AS ended
    WHERE order_id NOT IN (SELECT order_id FROM changed)
        AND NOT EXISTS (
            SELECT FROM couriers.courier_orders AS delivery
            WHERE delivery.order_id = ended.order_id OFFSET 0
        )
        AND (is_certain OR NOT EXISTS (
            SELECT FROM couriers.delivery_log AS entry
            WHERE entry.order_id = ended.order_id AND entry.status = ended.status OFFSET 0
        ))
    RETURNING number, order_id, at, status, courier_id, transport_type, deadline, cause
),
to_send AS (
    INSERT INTO couriers.delivery_outbox
        (number, order_id, at, status, courier_id, transport_type, deadline, cause)
    TABLE logged
),
-- One row per courier, sorted by key, so that two writers never deadlock.
changes AS (
    SELECT courier_id, sum(deliveries) AS deliveries, sum(completed) AS completed,
        sum(on_time) AS on_time, bool_or(was_active) AS is_freed
    FROM changed
    GROUP BY courier_id
    ORDER BY courier_id
),
-- Only their own active delivery frees a courier; a paused courier stays paused.
freed AS (
    UPDATE couriers.couriers AS courier SET
        deliveries = courier.deliveries + changes.deliveries,
        completed = courier.completed + changes.completed,
        on_time = courier.on_time + changes.on_time,
        status = CASE
            WHEN changes.is_freed AND courier.status = 'busy' THEN 'available' ELSE courier.status
        END,
        free_since = CASE
            WHEN changes.is_freed THEN (SELECT clock_timestamp()) ELSE courier.free_since
        END
    FROM changes
    WHERE courier.id = changes.courier_id
    RETURNING courier.deliveries
)
-- The match cursor of couriers moves back to this place.
SELECT min(deliveries) AS fewest FROM freed
