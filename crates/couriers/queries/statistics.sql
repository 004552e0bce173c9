-- statistics
SELECT totals.deliveries AS "deliveries!", totals.completed AS "completed!",
    -- The counter on_time includes those that were read late.
    totals.on_time - totals.read_late AS "on_time!", totals.read_late AS "read_late!",
    totals.without_courier AS completed_without_courier, totals.active AS "active!",
    totals.overdue + due.number AS "overdue!", totals.released AS "released!",
    recent.mean AS mean_seconds, recent.p95 AS p95_seconds
FROM (
    SELECT coalesce(sum(deliveries), 0)::bigint AS deliveries,
        coalesce(sum(completed), 0)::bigint AS completed,
        coalesce(sum(on_time), 0)::bigint AS on_time,
        coalesce(sum(read_late), 0)::bigint AS read_late,
        coalesce(sum(without_courier), 0)::bigint AS without_courier,
        coalesce(sum(active), 0)::bigint AS active,
        coalesce(sum(overdue), 0)::bigint AS overdue,
        coalesce(sum(released), 0)::bigint AS released
    FROM couriers.totals
) AS totals, (
    -- Those whose deadline has passed since the last sweep.
    SELECT count(*) AS number FROM couriers.active_deliveries
    WHERE overdue_at IS NULL AND deadline < now()
) AS due, (
    SELECT avg(seconds) AS mean, percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
    FROM (
        -- Without the deliveries that were read late: their durations are not known.
        SELECT extract(epoch FROM completed_at - assigned_at)::double precision AS seconds
        FROM couriers.courier_orders
        WHERE completed_at > now() - make_interval(secs => $1) AND completed_at >= assigned_at
        ORDER BY completed_at DESC LIMIT 10000
    ) AS durations
) AS recent
