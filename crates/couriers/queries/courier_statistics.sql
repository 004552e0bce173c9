-- courier_statistics
SELECT courier.deliveries, courier.completed, figures.on_time AS "on_time!",
    figures.read_late AS "read_late!", NULL::bigint AS completed_without_courier,
    active.number AS "active!", active.overdue AS "overdue!", released.number AS "released!",
    recent.mean AS mean_seconds, recent.p95 AS p95_seconds
FROM couriers.couriers AS courier JOIN couriers.courier_figures AS figures USING (id), (
    SELECT count(*) AS number, count(*) FILTER (WHERE deadline < clock_timestamp()) AS overdue
    FROM couriers.active_deliveries WHERE courier_id = $1
) AS active, (
    SELECT count(*) AS number FROM couriers.courier_orders
    WHERE courier_id = $1 AND released_at IS NOT NULL AND completed_at IS NULL
) AS released, (
    SELECT avg(seconds) AS mean, percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
    FROM (
        -- Without the deliveries that were read late: their durations are not known.
        SELECT extract(epoch FROM completed_at - assigned_at)::double precision AS seconds
        FROM couriers.courier_orders
        WHERE courier_id = $1 AND completed_at > now() - make_interval(secs => $2)
            AND completed_at >= assigned_at
    ) AS durations
) AS recent
WHERE id = $1
