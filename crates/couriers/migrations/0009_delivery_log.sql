-- The log of deliveries and couriers, and the outbox of the entries that are to be sent to the
-- deliveries topic.
--
-- Safe while the previous version is running: it uses none of the new tables, and the new column has
-- a default. But it writes no log: the changes that a replica of that version makes are neither in
-- the log nor on the topic. Writers of courier_orders wait while its indexes are made.

-- One row per change of a delivery or of a courier, never updated. A row is written in the
-- transaction of the change that it records.
CREATE TABLE couriers.delivery_log (
    -- The entries of one order are written while its row in order_states is locked, so their numbers
    -- rise. Of two orders, the lower number may become visible later.
    number           bigint GENERATED ALWAYS AS IDENTITY,
    -- By the database's clock.
    at               timestamptz NOT NULL,
    -- The first line has the entries of an order, the second one those of a courier.
    status           text NOT NULL CHECK (status IN (
        'assigned', 'reassigned', 'unassigned', 'overdue', 'released', 'requeued', 'completed', 'cancelled',
        'added', 'changed', 'paused', 'resumed', 'retired', 'restored'
    )),
    -- NULL in an entry of a courier.
    order_id         text COLLATE "C",
    -- NULL if the order ended without a delivery.
    courier_id       bigint,
    -- The courier who had the order before, in `reassigned`.
    from_courier_id  bigint,
    -- Of the delivery.
    transport_type   text,
    deadline         timestamptz,
    -- event: a status event; match: the match of orders and couriers; sweep: the time has passed;
    -- manual: a call.
    cause            text NOT NULL CHECK (cause IN ('event', 'match', 'sweep', 'manual')),
    -- The position of the event, if the cause is one.
    topic            text,
    "partition"      integer,
    "offset"         bigint,
    record_timestamp timestamptz,
    -- As the client of a call named itself.
    actor            text CHECK (octet_length(actor) BETWEEN 1 AND 100),
    CHECK (order_id IS NOT NULL OR courier_id IS NOT NULL)
);

-- The history of an order. There is no index by the number alone, because each index is a part of
-- the cost of every assignment: the outbox has the order of each number.
CREATE UNIQUE INDEX delivery_log_of_order ON couriers.delivery_log (order_id, number)
    WHERE order_id IS NOT NULL;
-- The history of a courier.
CREATE UNIQUE INDEX delivery_log_of_courier ON couriers.delivery_log (courier_id, number)
    WHERE order_id IS NULL;

-- The entries of orders that Kafka has not acknowledged yet. The statement that writes an entry
-- inserts its number; the sender deletes it after the acknowledgement.
-- A database that lost its last transactions may use a number again: `at` tells the two entries
-- apart.
CREATE TABLE couriers.delivery_outbox (
    number   bigint PRIMARY KEY,
    order_id text COLLATE "C" NOT NULL,
    at       timestamptz NOT NULL
);

-- The replica that sends. It has the lease until this time, by the database's clock.
CREATE TABLE couriers.outbox_lease (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    holder  bigint,
    until   timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO couriers.outbox_lease DEFAULT VALUES;

-- The list of released deliveries, the earliest first.
CREATE INDEX courier_orders_released_at ON couriers.courier_orders (released_at)
    WHERE released_at IS NOT NULL AND completed_at IS NULL;

-- When the sweep noted that the deadline had passed.
ALTER TABLE couriers.courier_orders ADD COLUMN overdue_at timestamptz;

-- The new column is the last one, so the statements of the previous version stay valid.
CREATE OR REPLACE VIEW couriers.active_deliveries AS
SELECT order_id, courier_id, transport_type, assigned_at, deadline, by_hand, completed_at, released_at,
    overdue_at
FROM couriers.courier_orders
WHERE completed_at IS NULL AND released_at IS NULL;

-- An active delivery is in one of these two indexes, so an assignment writes no more index entries
-- than before.
DROP INDEX couriers.courier_orders_overdue;
CREATE INDEX courier_orders_due ON couriers.courier_orders (deadline)
    WHERE completed_at IS NULL AND released_at IS NULL AND overdue_at IS NULL;
CREATE INDEX courier_orders_overdue ON couriers.courier_orders (deadline)
    WHERE completed_at IS NULL AND released_at IS NULL AND overdue_at IS NOT NULL;
