-- A delivery is active until it is completed or released: the one definition of that, for every
-- statement that asks. PostgreSQL expands such a view like a macro: statements on it use the partial
-- indexes of courier_orders, and an update of it is an update of the table, with the same row locks.
-- Safe while the previous version is running: CREATE VIEW waits for no reader or writer of the table,
-- and that version does not use the view.
CREATE VIEW couriers.active_deliveries AS
SELECT order_id, courier_id, transport_type, assigned_at, deadline, by_hand, completed_at, released_at
FROM couriers.courier_orders
WHERE completed_at IS NULL AND released_at IS NULL;
