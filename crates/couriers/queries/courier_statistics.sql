-- courier_statistics
SELECT courier.deliveries, courier.completed, courier.on_time, active.number AS "active!",
    active.overdue AS "overdue!", released.number AS "released!",
    recent.mean AS mean_seconds, recent.p95 AS p95_seconds
FROM couriers.couriers AS courier, (
    SELECT count(*) AS number, count(*) FILTER (WHERE deadline < clock_timestamp()) AS overdue
    FROM couriers.active_deliveries WHERE courier_id = $1
) AS active, (
    SELECT count(*) AS number FROM couriers.courier_orders
    WHERE courier_id = $1 AND released_at IS NOT NULL AND completed_at IS NULL
) AS released, (
    SELECT avg(seconds) AS mean, percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
    FROM (
        -- An event that is read late may have completed an order, by Kafka's clock, before it was
        -- assigned.
        SELECT greatest(extract(epoch FROM completed_at - assigned_at), 0)::double precision AS seconds
        FROM couriers.courier_orders
        WHERE courier_id = $1 AND completed_at > now() - make_interval(secs => $2)
    ) AS durations
) AS recent
WHERE courier.id = $1
