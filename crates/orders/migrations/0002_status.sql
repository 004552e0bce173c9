-- What the status topic has told of orders. Added beside the tables that are there: the previous
-- version goes on without these.

-- Every event that could be read, once, and never changed. One index serves redelivery and
-- GET /order/{order_uid}/history alike: an event's position, with the order it is of before it.
CREATE TABLE orders.order_events (
    order_uid        text COLLATE "C" NOT NULL CHECK (octet_length(order_uid) BETWEEN 1 AND 100),
    -- Where it stands on Kafka. The timestamp is part of the key so that a topic made anew does not
    -- hide its events behind those of the old one.
    record_timestamp timestamptz NOT NULL,
    "partition"      integer NOT NULL,
    "offset"         bigint NOT NULL,
    topic            text COLLATE "C" NOT NULL,
    -- The status as it was written.
    word             text NOT NULL CHECK (octet_length(word) <= 255),
    -- What that means: created 0, pending 1, confirmed 2, cooking 3, delivering 4, completed 5,
    -- cancelled 6; NULL for `updated` and for words that nobody knows.
    rank             smallint CHECK (rank BETWEEN 0 AND 6),
    -- When it happened and to which version of the order, as the event tells.
    told_at          timestamptz,
    version          integer CHECK (version >= 1),
    -- Why it did not change the order's status; NULL if it did.
    ignored          text CHECK (ignored IN ('repeated', 'lower', 'no_rank', 'unknown_status')),
    PRIMARY KEY (order_uid, record_timestamp, "partition", "offset", topic)
);

-- The highest rank that was told of an order, and the earliest record that told it, so that any
-- order of arrival ends in the same row. The order itself may be stored later, or never.
CREATE TABLE orders.order_status (
    order_uid   text COLLATE "C" PRIMARY KEY CHECK (octet_length(order_uid) BETWEEN 1 AND 100),
    rank        smallint NOT NULL CHECK (rank BETWEEN 0 AND 6),
    since       timestamptz NOT NULL,
    "partition" integer NOT NULL,
    "offset"    bigint NOT NULL,
    topic       text COLLATE "C" NOT NULL
)
-- An order comes through its statuses within minutes, and none of them is indexed: with room left
-- in the page each is written beside the one before, and the key's index is not touched.
WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
