-- statistics
SELECT counters.deliveries AS "deliveries!", counters.completed AS "completed!",
    counters.on_time - late.number AS "on_time!", late.number AS "read_late!",
    without_courier.number AS completed_without_courier, active.number AS "active!",
    active.overdue AS "overdue!", released.number AS "released!", recent.mean AS mean_seconds, recent.p95 AS p95_seconds
FROM (
    SELECT coalesce(sum(deliveries), 0)::bigint AS deliveries,
        coalesce(sum(completed), 0)::bigint AS completed,
        coalesce(sum(on_time), 0)::bigint AS on_time
    FROM couriers.couriers
) AS counters, (
    SELECT count(*) AS number, count(*) FILTER (WHERE deadline < clock_timestamp()) AS overdue
    FROM couriers.active_deliveries
) AS active, (
    -- The counter on_time includes all of these.
    SELECT count(*) AS number FROM couriers.courier_orders WHERE completed_at < assigned_at
) AS late, (
    SELECT count(*) AS number FROM couriers.order_states WHERE without_courier
) AS without_courier, (
    SELECT count(*) AS number FROM couriers.courier_orders
    WHERE released_at IS NOT NULL AND completed_at IS NULL
) AS released, (
    SELECT avg(seconds) AS mean, percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
    FROM (
        -- Without the deliveries that were read late: their durations are not known.
        SELECT extract(epoch FROM completed_at - assigned_at)::double precision AS seconds
        FROM couriers.courier_orders
        WHERE completed_at > now() - make_interval(secs => $1) AND completed_at >= assigned_at
    ) AS durations
) AS recent
