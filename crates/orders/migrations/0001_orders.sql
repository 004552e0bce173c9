-- The order service's tables. Everything is in the schema `orders`, which `waybill migrate` makes.

-- One row an order: its scalar parts, delivery and payment included, are columns; its items are one
-- array, so that an order is written, replaced and read as one row.
CREATE TABLE orders.orders (
    order_uid             text COLLATE "C" PRIMARY KEY CHECK (octet_length(order_uid) BETWEEN 1 AND 100),
    track_number          text NOT NULL CHECK (octet_length(track_number) <= 255),
    entry                 text NOT NULL,
    delivery_name         text NOT NULL,
    delivery_phone        text NOT NULL,
    delivery_zip          text NOT NULL,
    delivery_city         text NOT NULL,
    delivery_address      text NOT NULL,
    delivery_region       text NOT NULL,
    delivery_email        text NOT NULL,
    payment_transaction   text NOT NULL,
    payment_request_id    text NOT NULL,
    payment_currency      text NOT NULL CHECK (octet_length(payment_currency) = 3),
    payment_provider      text NOT NULL,
    payment_amount        bigint NOT NULL CHECK (payment_amount >= 0),
    payment_dt            bigint NOT NULL,
    payment_bank          text NOT NULL,
    payment_delivery_cost bigint NOT NULL CHECK (payment_delivery_cost >= 0),
    payment_goods_total   bigint NOT NULL CHECK (payment_goods_total >= 0),
    payment_custom_fee    bigint NOT NULL CHECK (payment_custom_fee >= 0),
    items                 jsonb NOT NULL CHECK (jsonb_typeof(items) = 'array'),
    locale                text NOT NULL,
    internal_signature    text NOT NULL,
    customer_id           text NOT NULL CHECK (octet_length(customer_id) <= 255),
    delivery_service      text NOT NULL,
    shardkey              text NOT NULL,
    sm_id                 bigint NOT NULL,
    date_created          timestamptz NOT NULL,
    oof_shard             text NOT NULL,
    -- What is odd without being invalid: codes of docs/validation.md.
    warnings              text[] NOT NULL,
    -- Counts the different contents that this order has had, from 1.
    version               integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    -- First 128 bits of the canonical order's BLAKE3 hash; the ETag.
    content_hash          bytea NOT NULL CHECK (octet_length(content_hash) = 16),
    -- The greatest record of this order: Kafka timestamp, partition, offset.
    source_timestamp      timestamptz NOT NULL,
    source_partition      integer NOT NULL,
    source_offset         bigint NOT NULL,
    -- When its first record was stored.
    ingested_at           timestamptz NOT NULL DEFAULT now()
);

-- GET /orders, newest first, and the warm-up.
CREATE INDEX orders_newest ON orders.orders (ingested_at DESC, order_uid DESC);
CREATE INDEX orders_by_customer ON orders.orders (customer_id, ingested_at DESC, order_uid DESC);
CREATE INDEX orders_by_track_number ON orders.orders (track_number, ingested_at DESC, order_uid DESC);

-- The items as typed columns, for people and reports.
CREATE VIEW orders.order_items AS
SELECT o.order_uid, i.position, i.item ->> 'rid' AS rid,
       (i.item ->> 'chrt_id')::bigint AS chrt_id, i.item ->> 'track_number' AS track_number,
       (i.item ->> 'price')::bigint AS price, i.item ->> 'name' AS name,
       (i.item ->> 'sale')::bigint AS sale, i.item ->> 'size' AS size,
       (i.item ->> 'total_price')::bigint AS total_price, (i.item ->> 'nm_id')::bigint AS nm_id,
       i.item ->> 'brand' AS brand, (i.item ->> 'status')::bigint AS status
FROM orders.orders AS o, jsonb_array_elements(o.items) WITH ORDINALITY AS i (item, position);

-- Records that could not become orders, as they came. The timestamp is part of the key so that a
-- topic made anew does not hide its records behind those of the old one.
CREATE TABLE orders.rejected_records (
    topic            text COLLATE "C" NOT NULL,
    "partition"      integer NOT NULL,
    "offset"         bigint NOT NULL,
    record_timestamp timestamptz NOT NULL,
    key              bytea,
    value            bytea,
    reason           text NOT NULL,
    -- An array of {pointer, code, message}.
    violations       jsonb NOT NULL,
    -- An array of {at, edited}: when it was sent again, and whether with another body.
    replays          jsonb NOT NULL DEFAULT '[]',
    rejected_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, "partition", "offset", record_timestamp)
);

-- GET /rejected, newest first, all or of one reason.
CREATE INDEX rejected_newest
    ON orders.rejected_records (rejected_at DESC, topic DESC, "partition" DESC, "offset" DESC);
CREATE INDEX rejected_by_reason
    ON orders.rejected_records (reason, rejected_at DESC, topic DESC, "partition" DESC, "offset" DESC);
