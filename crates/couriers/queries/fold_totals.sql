-- fold_totals
WITH folded AS (
    DELETE FROM couriers.totals WHERE ctid = ANY (ARRAY (
        SELECT ctid FROM couriers.totals
        -- A few rows are left as they are, so that an idle service writes nothing.
        WHERE (SELECT count(*) > 10 FROM couriers.totals)
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING *
)
INSERT INTO couriers.totals (
    available, busy, paused, retired, deliveries, completed, on_time, active, overdue, released,
    read_late, waiting, held, without_courier
)
SELECT
    sum(available), sum(busy), sum(paused), sum(retired), sum(deliveries), sum(completed),
    sum(on_time), sum(active), sum(overdue), sum(released), sum(read_late), sum(waiting), sum(held),
    sum(without_courier)
FROM folded
HAVING count(*) > 0
