-- Retired couriers, and the courier that an order was taken from.
--
-- Safe while the previous version is running, as long as no courier is retired: that version cannot
-- read the status `retired`. The new column has no default. Writers of couriers wait while the index
-- is made.

-- A retired courier gets no order, and their phone number may be given to another courier.
ALTER TABLE couriers.couriers
    DROP CONSTRAINT couriers_status_check,
    ADD CONSTRAINT couriers_status_check CHECK (status IN ('available', 'busy', 'paused', 'retired')),
    DROP CONSTRAINT couriers_phone;
CREATE UNIQUE INDEX couriers_phone ON couriers.couriers (phone) WHERE status <> 'retired';

-- The courier from whom the order was taken. The next assignment sets it to NULL.
ALTER TABLE couriers.order_states ADD COLUMN taken_from bigint;
