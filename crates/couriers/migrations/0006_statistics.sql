-- Statistics after an outage, when events are read late. Safe while the previous version is running:
-- it does not use the new column and the view, and the triggers set the column for its writes, too.

-- Deliveries whose `completed` event, by Kafka's clock, is older than the assignment: read late, and
-- left out of durations and of the on-time share. The counter `on_time` includes all of them, because
-- a deadline is never before the assignment.
CREATE INDEX courier_orders_read_late ON couriers.courier_orders (courier_id)
    WHERE completed_at < assigned_at;

-- The figures of each courier that are derived from the counters: `on_time` is without the deliveries
-- that were read late.
CREATE VIEW couriers.courier_figures AS
SELECT id, read_late, counted - read_late AS on_time
FROM (
    SELECT id, on_time AS counted, (
        SELECT count(*) FROM couriers.courier_orders
        WHERE courier_id = courier.id AND completed_at < assigned_at
    ) AS read_late
    FROM couriers.couriers AS courier
) AS courier;

-- True for an order that is completed and has no row in courier_orders.
ALTER TABLE couriers.order_states ADD COLUMN without_courier boolean NOT NULL DEFAULT false;

-- The row of the order is locked or new here, so no other transaction changes its delivery. The query
-- of a function has a snapshot of its own, so it sees a delivery that was committed while the update
-- waited for the lock. A delivery is never inserted after the order is completed.
CREATE FUNCTION couriers.mark_without_courier() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.without_courier := NEW.rank = 5 AND NOT EXISTS (
        SELECT FROM couriers.courier_orders WHERE order_id = NEW.order_id
    );
    RETURN NEW;
END
$$;

-- Only for orders that end; the condition is checked without a call of the function.
CREATE TRIGGER mark_inserted BEFORE INSERT ON couriers.order_states
    FOR EACH ROW WHEN (NEW.rank = 5) EXECUTE FUNCTION couriers.mark_without_courier();
CREATE TRIGGER mark_updated BEFORE UPDATE OF rank ON couriers.order_states
    FOR EACH ROW WHEN (NEW.rank >= 5 AND NEW.rank <> OLD.rank)
    EXECUTE FUNCTION couriers.mark_without_courier();
