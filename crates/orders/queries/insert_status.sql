-- insert_status
-- Inserts the statuses of orders that have none; other orders keep their status.
-- The arrays are sorted by key, so that two writers never wait for each other in a circle.
INSERT INTO orders.order_status (order_uid, rank, since, "partition", "offset", topic)
SELECT
    unnest($1::text[]), unnest($2::smallint[]), unnest($3::timestamptz[]), unnest($4::integer[]),
    unnest($5::bigint[]), $6
ON CONFLICT (order_uid) DO NOTHING
RETURNING order_uid
