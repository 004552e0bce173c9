-- audit
-- One row per check, in the order in which the caller names them.
SELECT count(seen.id) AS "checked!", count(*) FILTER (WHERE seen.is_wrong) AS "broken!",
    (array_agg(seen.id) FILTER (WHERE seen.is_wrong))[1:5] AS examples
FROM generate_series(1, 8) AS number LEFT JOIN (
    -- No courier has two active deliveries.
    SELECT 1 AS number, courier_id::text AS id, count(*) > 1 AS is_wrong
    FROM couriers.active_deliveries GROUP BY courier_id
    UNION ALL
    -- A busy courier carries an order, an available one carries none.
    SELECT 2, courier.id::text, (courier.status = 'busy' AND delivery.order_id IS NULL)
        OR (courier.status = 'available' AND delivery.order_id IS NOT NULL)
    FROM couriers.couriers AS courier
    LEFT JOIN couriers.active_deliveries AS delivery ON delivery.courier_id = courier.id
    UNION ALL
    -- An order that has not ended either waits or has a delivery.
    SELECT 3, order_id, (state.waiting_since IS NOT NULL) = (delivery.order_id IS NOT NULL)
    FROM couriers.order_states AS state LEFT JOIN couriers.courier_orders AS delivery USING (order_id)
    WHERE state.created_at IS NOT NULL AND state.rank < $1
    UNION ALL
    -- A courier's counters are those of their deliveries.
    SELECT 4, courier.id::text, (courier.deliveries, courier.completed, courier.on_time)
        IS DISTINCT FROM
        (coalesce(own.deliveries, 0), coalesce(own.completed, 0), coalesce(own.on_time, 0))
    FROM couriers.couriers AS courier LEFT JOIN (
        SELECT courier_id, count(*) AS deliveries, count(completed_at) AS completed,
            count(*) FILTER (WHERE completed_at <= deadline) AS on_time
        FROM couriers.courier_orders GROUP BY courier_id
    ) AS own ON own.courier_id = courier.id
    UNION ALL
    -- A cancelled order has no delivery, and a completed order's delivery is completed.
    SELECT 5, order_id, state.rank IS NULL OR state.rank = $2
        OR (state.rank = $1) IS DISTINCT FROM (delivery.completed_at IS NOT NULL)
    FROM couriers.courier_orders AS delivery LEFT JOIN couriers.order_states AS state USING (order_id)
    UNION ALL
    -- An order is counted as completed without a courier if that is so.
    SELECT 6, order_id,
        state.without_courier <> (state.rank = $1 AND delivery.order_id IS NULL)
    FROM couriers.order_states AS state LEFT JOIN couriers.courier_orders AS delivery USING (order_id)
    UNION ALL
    -- The last entry of an order in the log is that of its state. An order without an entry is left
    -- out: it waits, or an earlier version changed it.
    SELECT 7, order_id, CASE
            WHEN state.rank = $2 THEN last.status = 'cancelled'
            WHEN state.rank = $1 THEN last.status = 'completed'
                AND last.courier_id IS NOT DISTINCT FROM delivery.courier_id
            WHEN state.held_at IS NOT NULL THEN last.status = 'unassigned'
            WHEN delivery.order_id IS NULL THEN last.status = 'requeued'
            WHEN delivery.courier_id <> last.courier_id THEN false
            WHEN delivery.released_at IS NOT NULL THEN last.status = 'released'
            WHEN delivery.overdue_at IS NOT NULL THEN last.status = 'overdue'
            ELSE last.status IN ('assigned', 'reassigned')
        END IS NOT TRUE
    FROM couriers.order_states AS state
    LEFT JOIN couriers.courier_orders AS delivery USING (order_id)
    CROSS JOIN LATERAL (
        SELECT status, courier_id FROM couriers.delivery_log AS entry
        WHERE entry.order_id = state.order_id ORDER BY number DESC LIMIT 1
    ) AS last
    UNION ALL
    -- The totals are those of the tables.
    SELECT 8, name, total IS DISTINCT FROM counted
    FROM (
        SELECT coalesce(sum(available), 0) AS available, coalesce(sum(busy), 0) AS busy,
            coalesce(sum(paused), 0) AS paused, coalesce(sum(retired), 0) AS retired,
            coalesce(sum(deliveries), 0) AS deliveries, coalesce(sum(completed), 0) AS completed,
            coalesce(sum(on_time), 0) AS on_time, coalesce(sum(active), 0) AS active,
            coalesce(sum(overdue), 0) AS overdue, coalesce(sum(released), 0) AS released,
            coalesce(sum(read_late), 0) AS read_late, coalesce(sum(waiting), 0) AS waiting,
            coalesce(sum(held), 0) AS held, coalesce(sum(without_courier), 0) AS without_courier
        FROM couriers.totals
    ) AS total_of, (
        SELECT count(*) FILTER (WHERE status = 'available') AS available,
            count(*) FILTER (WHERE status = 'busy') AS busy,
            count(*) FILTER (WHERE status = 'paused') AS paused,
            count(*) FILTER (WHERE status = 'retired') AS retired,
            coalesce(sum(deliveries), 0) AS deliveries, coalesce(sum(completed), 0) AS completed,
            coalesce(sum(on_time), 0) AS on_time
        FROM couriers.couriers
    ) AS courier, (
        SELECT count(*) FILTER (WHERE completed_at IS NULL AND released_at IS NULL) AS active,
            count(*) FILTER (
                WHERE completed_at IS NULL AND released_at IS NULL AND overdue_at IS NOT NULL
            ) AS overdue,
            count(*) FILTER (WHERE completed_at IS NULL AND released_at IS NOT NULL) AS released,
            count(*) FILTER (WHERE completed_at < assigned_at) AS read_late
        FROM couriers.courier_orders
    ) AS delivery, (
        SELECT count(*) FILTER (WHERE waiting_since IS NOT NULL AND held_at IS NULL) AS waiting,
            count(*) FILTER (WHERE held_at IS NOT NULL) AS held,
            count(*) FILTER (WHERE without_courier) AS without_courier
        FROM couriers.order_states
    ) AS state, LATERAL (VALUES
        ('available', total_of.available, courier.available),
        ('busy', total_of.busy, courier.busy),
        ('paused', total_of.paused, courier.paused),
        ('retired', total_of.retired, courier.retired),
        ('deliveries', total_of.deliveries, courier.deliveries),
        ('completed', total_of.completed, courier.completed),
        ('on_time', total_of.on_time, courier.on_time),
        ('active', total_of.active, delivery.active),
        ('overdue', total_of.overdue, delivery.overdue),
        ('released', total_of.released, delivery.released),
        ('read_late', total_of.read_late, delivery.read_late),
        ('waiting', total_of.waiting, state.waiting),
        ('held', total_of.held, state.held),
        ('without_courier', total_of.without_courier, state.without_courier)
    ) AS compared (name, total, counted)
) AS seen USING (number)
GROUP BY number ORDER BY number
