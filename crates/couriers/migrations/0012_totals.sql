-- Totals of couriers, deliveries and orders, so that the board and the statistics do not count all
-- rows of a table each second; and a cheaper way to mark the orders completed without a courier.
--
-- Safe while the previous version is running: it does not read the new table, and the triggers count
-- and mark its changes too. Writers of the three tables wait while their rows are counted.

-- Changes of the totals. Each statement that changes a total appends a row with the difference, so
-- that two writers never wait for each other; the total is the sum over all rows. A column is NULL
-- where the statement changed nothing. Dispatch replaces many rows by their sum.
CREATE TABLE couriers.totals (
    -- Couriers by status, and the sums of their counters.
    available       bigint,
    busy            bigint,
    paused          bigint,
    retired         bigint,
    deliveries      bigint,
    completed       bigint,
    on_time         bigint,
    -- Deliveries: active, those of them that are noted as overdue, released and not completed, and
    -- those whose `completed` event was read late.
    active          bigint,
    overdue         bigint,
    released        bigint,
    read_late       bigint,
    -- Orders: waiting, held, and completed without a courier.
    waiting         bigint,
    held            bigint,
    without_courier bigint
);

-- Rows are appended and deleted all the time, so the table must be vacuumed by the number of its
-- dead rows alone.
ALTER TABLE couriers.totals
    SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Each function appends the sums of the new rows of a statement, and the negative sums of its old rows.
-- It runs with the rights of the owner: a replica of the previous version has no rights on the table.
CREATE FUNCTION couriers.count_couriers() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = couriers, pg_temp AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO couriers.totals (available, busy, paused, retired, deliveries, completed, on_time)
        SELECT
            count(*) FILTER (WHERE status = 'available'),
            count(*) FILTER (WHERE status = 'busy'),
            count(*) FILTER (WHERE status = 'paused'),
            count(*) FILTER (WHERE status = 'retired'),
            sum(deliveries),
            sum(completed),
            sum(on_time)
        FROM new_rows
        HAVING count(*) > 0;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO couriers.totals (available, busy, paused, retired, deliveries, completed, on_time)
        SELECT
            -count(*) FILTER (WHERE status = 'available'),
            -count(*) FILTER (WHERE status = 'busy'),
            -count(*) FILTER (WHERE status = 'paused'),
            -count(*) FILTER (WHERE status = 'retired'),
            -sum(deliveries),
            -sum(completed),
            -sum(on_time)
        FROM old_rows
        HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION couriers.count_courier_orders() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = couriers, pg_temp AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO couriers.totals (active, overdue, released, read_late)
        SELECT
            count(*) FILTER (WHERE completed_at IS NULL AND released_at IS NULL),
            count(overdue_at) FILTER (WHERE completed_at IS NULL AND released_at IS NULL),
            count(released_at) FILTER (WHERE completed_at IS NULL),
            count(*) FILTER (WHERE completed_at < assigned_at)
        FROM new_rows WHERE completed_at IS NULL OR completed_at < assigned_at
        HAVING count(*) > 0;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO couriers.totals (active, overdue, released, read_late)
        SELECT
            -count(*) FILTER (WHERE completed_at IS NULL AND released_at IS NULL),
            -count(overdue_at) FILTER (WHERE completed_at IS NULL AND released_at IS NULL),
            -count(released_at) FILTER (WHERE completed_at IS NULL),
            -count(*) FILTER (WHERE completed_at < assigned_at)
        FROM old_rows WHERE completed_at IS NULL OR completed_at < assigned_at
        HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION couriers.count_order_states() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = couriers, pg_temp AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO couriers.totals (waiting, held, without_courier)
        SELECT
            count(waiting_since) FILTER (WHERE held_at IS NULL),
            count(held_at),
            count(*) FILTER (WHERE without_courier)
        FROM new_rows WHERE waiting_since IS NOT NULL OR without_courier
        HAVING count(*) > 0;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO couriers.totals (waiting, held, without_courier)
        SELECT
            -count(waiting_since) FILTER (WHERE held_at IS NULL),
            -count(held_at),
            -count(*) FILTER (WHERE without_courier)
        FROM old_rows WHERE waiting_since IS NOT NULL OR without_courier
        HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER count_insert AFTER INSERT ON couriers.couriers
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.count_couriers();
CREATE TRIGGER count_update AFTER UPDATE ON couriers.couriers
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.count_couriers();
CREATE TRIGGER count_delete AFTER DELETE ON couriers.couriers
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.count_couriers();

CREATE TRIGGER count_insert AFTER INSERT ON couriers.courier_orders
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.count_courier_orders();
CREATE TRIGGER count_update AFTER UPDATE ON couriers.courier_orders
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.count_courier_orders();
CREATE TRIGGER count_delete AFTER DELETE ON couriers.courier_orders
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.count_courier_orders();

CREATE TRIGGER count_insert AFTER INSERT ON couriers.order_states
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.count_order_states();
CREATE TRIGGER count_update AFTER UPDATE ON couriers.order_states
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.count_order_states();
CREATE TRIGGER count_delete AFTER DELETE ON couriers.order_states
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.count_order_states();

-- Marks orders that are completed without a courier once per statement. The triggers of 0006 called a
-- function per order, which was a tenth of the work of dispatch. The rows of the orders are locked
-- here, and each query of a function has a snapshot of its own, so it sees a delivery that was committed
-- while the statement waited for the lock.
CREATE FUNCTION couriers.mark_inserted_orders() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed text[] := ARRAY (
        SELECT order_id FROM new_rows
        WHERE rank = 5 AND NOT EXISTS (
            SELECT FROM couriers.courier_orders AS delivery
            WHERE delivery.order_id = new_rows.order_id OFFSET 0
        )
    );
BEGIN
    IF changed <> '{}' THEN
        UPDATE couriers.order_states SET without_courier = true WHERE order_id = ANY (changed);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION couriers.mark_updated_orders() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed text[] := ARRAY (
        WITH wrong AS MATERIALIZED (
            SELECT order_id, rank FROM new_rows
            WHERE rank >= 5 AND without_courier <> (rank = 5 AND NOT EXISTS (
                SELECT FROM couriers.courier_orders AS delivery
                WHERE delivery.order_id = new_rows.order_id OFFSET 0
            ))
        )
        SELECT order_id FROM (
            SELECT order_id, rank FROM wrong EXCEPT SELECT order_id, rank FROM old_rows
        ) AS with_another_rank
    );
BEGIN
    -- This update calls the trigger again, which then finds nothing to change.
    IF changed <> '{}' THEN
        UPDATE couriers.order_states SET without_courier = NOT without_courier
        WHERE order_id = ANY (changed);
    END IF;
    RETURN NULL;
END
$$;

DROP TRIGGER mark_inserted ON couriers.order_states;
DROP TRIGGER mark_updated ON couriers.order_states;
DROP FUNCTION couriers.mark_without_courier;
CREATE TRIGGER mark_inserted AFTER INSERT ON couriers.order_states
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.mark_inserted_orders();
CREATE TRIGGER mark_updated AFTER UPDATE ON couriers.order_states
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.mark_updated_orders();

-- Replaces the totals by new counts. Writers of the three tables wait for it. An administrator calls it
-- after a TRUNCATE, which no trigger counts, or if `waybill audit` finds that the totals are wrong.
CREATE PROCEDURE couriers.count_totals() LANGUAGE plpgsql AS $$
BEGIN
    -- In the order in which the services lock rows of these tables. With these locks, no writer has a
    -- change that is not committed, so the counts miss none.
    LOCK TABLE couriers.order_states, couriers.courier_orders, couriers.couriers
        IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM couriers.totals;
    INSERT INTO couriers.totals (available, busy, paused, retired, deliveries, completed, on_time)
    SELECT
        count(*) FILTER (WHERE status = 'available'),
        count(*) FILTER (WHERE status = 'busy'),
        count(*) FILTER (WHERE status = 'paused'),
        count(*) FILTER (WHERE status = 'retired'),
        sum(deliveries),
        sum(completed),
        sum(on_time)
    FROM couriers.couriers;
    INSERT INTO couriers.totals (active, overdue, released, read_late)
    SELECT
        count(*) FILTER (WHERE completed_at IS NULL AND released_at IS NULL),
        count(overdue_at) FILTER (WHERE completed_at IS NULL AND released_at IS NULL),
        count(released_at) FILTER (WHERE completed_at IS NULL),
        count(*) FILTER (WHERE completed_at < assigned_at)
    FROM couriers.courier_orders WHERE completed_at IS NULL OR completed_at < assigned_at;
    INSERT INTO couriers.totals (waiting, held, without_courier)
    SELECT
        count(waiting_since) FILTER (WHERE held_at IS NULL),
        count(held_at),
        count(*) FILTER (WHERE without_courier)
    FROM couriers.order_states WHERE waiting_since IS NOT NULL OR without_courier;
END
$$;

CALL couriers.count_totals();
