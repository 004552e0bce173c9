-- invariants
-- One row per invariant, with the number of violations.
WITH counted AS (
    SELECT c.id, count(d.order_id) AS deliveries, count(d.completed_at) AS completed,
        count(*) FILTER (WHERE d.completed_at <= d.deadline) AS on_time
    FROM couriers.couriers AS c LEFT JOIN couriers.courier_orders AS d ON d.courier_id = c.id
    GROUP BY c.id
)
SELECT 'a courier with two active deliveries', count(*)
FROM (SELECT FROM couriers.active_deliveries GROUP BY courier_id HAVING count(*) > 1) AS two
UNION ALL
SELECT 'an available courier carries an order', count(*)
FROM couriers.couriers AS c JOIN couriers.active_deliveries ON courier_id = c.id WHERE c.status = 'available'
UNION ALL
SELECT 'a busy courier carries no order', count(*) FROM couriers.couriers AS c
WHERE c.status = 'busy' AND NOT EXISTS (SELECT FROM couriers.active_deliveries WHERE courier_id = c.id)
UNION ALL
SELECT 'counters of a courier differ from their deliveries', count(*) FROM couriers.couriers AS c JOIN counted USING (id)
WHERE (c.deliveries, c.completed, c.on_time) <> (counted.deliveries, counted.completed, counted.on_time)
UNION ALL
SELECT 'a cancelled order has a delivery', count(*)
FROM couriers.courier_orders JOIN couriers.order_states USING (order_id) WHERE rank = 6
UNION ALL
SELECT 'an order waits and has a delivery', count(*)
FROM couriers.courier_orders JOIN couriers.order_states USING (order_id) WHERE waiting_since IS NOT NULL
UNION ALL
SELECT 'a created order neither waits, nor has a delivery, nor has ended', count(*)
FROM couriers.order_states LEFT JOIN couriers.courier_orders AS d USING (order_id)
WHERE created_at IS NOT NULL AND rank < 5 AND waiting_since IS NULL AND d.order_id IS NULL
UNION ALL
SELECT 'a completed order has an open delivery, or an open order a completed one', count(*)
FROM couriers.courier_orders AS d JOIN couriers.order_states AS s USING (order_id)
WHERE (s.rank = 5) <> (d.completed_at IS NOT NULL)
UNION ALL
SELECT 'the mark of an order completed without a courier is wrong', count(*)
FROM couriers.order_states AS s LEFT JOIN couriers.courier_orders AS d USING (order_id)
WHERE s.without_courier <> (s.rank = 5 AND d.order_id IS NULL)
UNION ALL
SELECT 'a delivery of an unknown order', count(*)
FROM couriers.courier_orders LEFT JOIN couriers.order_states AS s USING (order_id) WHERE s.order_id IS NULL
UNION ALL
SELECT 'the last entry of an order in the log contradicts its state', count(*)
FROM couriers.order_states AS s LEFT JOIN couriers.courier_orders AS d USING (order_id)
LEFT JOIN LATERAL (
    SELECT status, courier_id FROM couriers.delivery_log AS entry
    WHERE entry.order_id = s.order_id ORDER BY number DESC LIMIT 1
) AS last ON true
WHERE CASE
        WHEN s.rank = 6 THEN last.status = 'cancelled'
        WHEN s.rank = 5 THEN last.status = 'completed' AND last.courier_id IS NOT DISTINCT FROM d.courier_id
        WHEN s.held_at IS NOT NULL THEN last.status = 'unassigned'
        WHEN d.order_id IS NULL THEN coalesce(last.status, 'requeued') = 'requeued'
        WHEN d.courier_id <> last.courier_id THEN false
        WHEN d.released_at IS NOT NULL THEN last.status = 'released'
        WHEN d.overdue_at IS NOT NULL THEN last.status = 'overdue'
        ELSE last.status IN ('assigned', 'reassigned')
    END IS NOT TRUE
UNION ALL
SELECT 'a row of the outbox differs from the entry in the log', count(*)
FROM couriers.delivery_outbox AS o
WHERE NOT EXISTS (
    SELECT FROM couriers.delivery_log AS entry
    WHERE (entry.order_id, entry.number, entry.at, entry.status, entry.cause)
            = (o.order_id, o.number, o.at, o.status, o.cause)
        AND (entry.courier_id, entry.transport_type, entry.deadline)
            IS NOT DISTINCT FROM (o.courier_id, o.transport_type, o.deadline)
)
UNION ALL
SELECT 'a phone number is not kept, or kept without its courier', count(*) FROM (
    SELECT phone COLLATE "C" FROM couriers.couriers WHERE status <> 'retired'
) AS c (phone) FULL JOIN couriers.courier_phones AS p USING (phone)
WHERE c.phone IS NULL OR p.phone IS NULL
UNION ALL
SELECT 'the totals differ from the tables', count(*) FROM (
    SELECT coalesce(sum(available), 0), coalesce(sum(busy), 0), coalesce(sum(paused), 0),
        coalesce(sum(retired), 0), coalesce(sum(deliveries), 0), coalesce(sum(completed), 0),
        coalesce(sum(on_time), 0), coalesce(sum(active), 0), coalesce(sum(overdue), 0),
        coalesce(sum(released), 0), coalesce(sum(read_late), 0), coalesce(sum(waiting), 0),
        coalesce(sum(held), 0), coalesce(sum(without_courier), 0)
    FROM couriers.totals
    EXCEPT
    SELECT c.available, c.busy, c.paused, c.retired, c.deliveries, c.completed, c.on_time,
        d.active, d.overdue, d.released, d.read_late, s.waiting, s.held, s.without_courier
    FROM (
        SELECT count(*) FILTER (WHERE status = 'available') AS available,
            count(*) FILTER (WHERE status = 'busy') AS busy,
            count(*) FILTER (WHERE status = 'paused') AS paused,
            count(*) FILTER (WHERE status = 'retired') AS retired,
            coalesce(sum(deliveries), 0) AS deliveries, coalesce(sum(completed), 0) AS completed,
            coalesce(sum(on_time), 0) AS on_time
        FROM couriers.couriers
    ) AS c, (
        SELECT count(*) FILTER (WHERE completed_at IS NULL AND released_at IS NULL) AS active,
            count(*) FILTER (
                WHERE completed_at IS NULL AND released_at IS NULL AND overdue_at IS NOT NULL
            ) AS overdue,
            count(*) FILTER (WHERE completed_at IS NULL AND released_at IS NOT NULL) AS released,
            count(*) FILTER (WHERE completed_at < assigned_at) AS read_late
        FROM couriers.courier_orders
    ) AS d, (
        SELECT count(*) FILTER (WHERE waiting_since IS NOT NULL AND held_at IS NULL) AS waiting,
            count(*) FILTER (WHERE held_at IS NOT NULL) AS held,
            count(*) FILTER (WHERE without_courier) AS without_courier
        FROM couriers.order_states
    ) AS s
) AS different
