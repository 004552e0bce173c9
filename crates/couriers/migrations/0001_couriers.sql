-- The courier service's tables. Everything is in the schema `couriers`, which `waybill migrate`
-- makes. Whoever changes rows of several tables locks them in this order: order_states, then
-- courier_orders, then couriers, each by ascending key; so nobody waits in a circle.

-- One row a courier.
CREATE TABLE couriers.couriers (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 255),
    phone          text NOT NULL CONSTRAINT couriers_phone UNIQUE CHECK (phone ~ '^\+[0-9]{10,15}$'),
    transport_type text NOT NULL CHECK (transport_type IN ('on_foot', 'scooter', 'car')),
    -- `busy` is derived: he has an active delivery and is not paused.
    status         text NOT NULL CHECK (status IN ('available', 'busy', 'paused')),
    -- Counters of his rows in courier_orders: all, those completed, those completed in time.
    deliveries     bigint NOT NULL DEFAULT 0,
    completed      bigint NOT NULL DEFAULT 0,
    on_time        bigint NOT NULL DEFAULT 0,
    -- Since when he has carried nothing; of no meaning while he does.
    free_since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (0 <= on_time AND on_time <= completed AND completed <= deliveries)
);

-- Who comes next: fewest deliveries first, then longest idle.
CREATE INDEX couriers_available ON couriers.couriers (deliveries, free_since, id)
    WHERE status = 'available';

-- One row an order that has, or has had, a courier. A cancelled order has none.
-- Active: neither completed nor released.
CREATE TABLE couriers.courier_orders (
    order_id       text COLLATE "C" PRIMARY KEY,
    courier_id     bigint NOT NULL REFERENCES couriers.couriers,
    -- The courier's when the order was assigned.
    transport_type text NOT NULL CHECK (transport_type IN ('on_foot', 'scooter', 'car')),
    -- By the database's clock, as the deadline is.
    assigned_at    timestamptz NOT NULL,
    deadline       timestamptz NOT NULL CHECK (deadline >= assigned_at),
    by_hand        boolean NOT NULL,
    -- Kafka's time of the `completed` event; a backlog may have it before assigned_at.
    completed_at   timestamptz,
    -- When its courier was freed because nobody completed it long after its deadline.
    released_at    timestamptz
);

-- No courier has two active deliveries.
CREATE UNIQUE INDEX courier_orders_active ON couriers.courier_orders (courier_id)
    WHERE completed_at IS NULL AND released_at IS NULL;
CREATE INDEX courier_orders_overdue ON couriers.courier_orders (deadline)
    WHERE completed_at IS NULL AND released_at IS NULL;
-- Durations over a recent window, of all and of one courier.
CREATE INDEX courier_orders_completed ON couriers.courier_orders (completed_at)
    WHERE completed_at IS NOT NULL;
CREATE INDEX courier_orders_of_courier ON couriers.courier_orders (courier_id, completed_at)
    WHERE completed_at IS NOT NULL;

-- One row an order of which any event with a rank has been seen: how far it has come, and whether
-- it waits for a courier. An order that is cancelled before it is created leaves its mark here.
CREATE TABLE couriers.order_states (
    order_id      text COLLATE "C" PRIMARY KEY CHECK (octet_length(order_id) BETWEEN 1 AND 100),
    -- The highest seen: 0 created, 1 pending, 2 confirmed, 3 cooking, 4 delivering, 5 completed,
    -- 6 cancelled.
    rank          smallint NOT NULL CHECK (rank BETWEEN 0 AND 6),
    -- Kafka's time of the first `created`; NULL until it is seen.
    created_at    timestamptz,
    -- Kafka's time of the event of the highest rank.
    changed_at    timestamptz NOT NULL,
    -- Its place in the queue; NULL unless it waits.
    waiting_since timestamptz,
    -- When it was taken from its courier by hand, to wait until it is assigned by hand.
    held_at       timestamptz,
    CHECK (waiting_since IS NULL OR (created_at IS NOT NULL AND rank < 5)),
    CHECK (held_at IS NULL OR waiting_since IS NOT NULL)
);

-- The queue, oldest first.
CREATE INDEX order_states_waiting ON couriers.order_states (waiting_since, order_id)
    WHERE waiting_since IS NOT NULL AND held_at IS NULL;
CREATE INDEX order_states_held ON couriers.order_states (held_at, order_id)
    WHERE held_at IS NOT NULL;

-- Each order and each delivery leaves dead entries at the front of these tables' queues: they are
-- cleared away long before a fifth of the table has changed.
ALTER TABLE couriers.couriers SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE couriers.order_states SET (autovacuum_vacuum_scale_factor = 0.02);

-- Records that are no events, as they came. The timestamp is part of the key so that a topic made
-- anew does not hide its records behind those of the old one.
CREATE TABLE couriers.rejected_records (
    topic            text COLLATE "C" NOT NULL,
    "partition"      integer NOT NULL,
    "offset"         bigint NOT NULL,
    record_timestamp timestamptz NOT NULL,
    key              bytea,
    value            bytea,
    reason           text NOT NULL,
    -- An array of {pointer, code, message}.
    violations       jsonb NOT NULL,
    -- An array of {at, partition, offset, edited}: when it was sent again, where that record
    -- stands, and whether with another body.
    replays          jsonb NOT NULL DEFAULT '[]',
    rejected_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, "partition", "offset", record_timestamp)
);

CREATE INDEX rejected_newest
    ON couriers.rejected_records (rejected_at DESC, topic DESC, "partition" DESC, "offset" DESC);
CREATE INDEX rejected_by_reason
    ON couriers.rejected_records (reason, rejected_at DESC, topic DESC, "partition" DESC, "offset" DESC);
