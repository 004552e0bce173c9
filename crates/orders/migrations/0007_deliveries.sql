-- The delivery of each order, by the latest event of the deliveries topic. Safe while the previous
-- version is running: it does not use this table.

-- One row per order: the event with the greatest time and number, so that any sequence of arrival
-- and any repetition ends in the same row. The order itself may be stored later, or never.
CREATE TABLE orders.order_deliveries (
    order_uid      text COLLATE "C" PRIMARY KEY CHECK (octet_length(order_uid) BETWEEN 1 AND 100),
    -- The time and the number of the change, as the courier service gave them.
    since          timestamptz NOT NULL,
    number         bigint NOT NULL CHECK (number >= 1),
    status         text NOT NULL CHECK (status IN (
        'assigned', 'reassigned', 'unassigned', 'overdue', 'released', 'requeued', 'completed', 'cancelled'
    )),
    -- NULL if the event does not have it.
    courier_id     bigint,
    transport_type text CHECK (transport_type IN ('on_foot', 'scooter', 'car')),
    deadline       timestamptz,
    cause          text CHECK (cause IN ('event', 'match', 'sweep', 'manual'))
)
-- A delivery changes a few times within minutes, and only its key is indexed: with free space in each
-- page, the new version of a row is written beside the old one, and the index is not changed.
WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
