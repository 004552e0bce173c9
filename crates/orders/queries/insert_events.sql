-- insert_events
-- The events of one batch; those that are recorded already stay as they are.
INSERT INTO orders.order_events (
    order_uid, record_timestamp, "partition", "offset", word, rank, told_at, version, ignored, topic
)
SELECT incoming.*, $10
FROM UNNEST (
        $1::text[], $2::timestamptz[], $3::integer[], $4::bigint[], $5::text[], $6::smallint[],
        $7::timestamptz[], $8::integer[], $9::text[]
    ) AS incoming (
        order_uid, record_timestamp, "partition", "offset", word, rank, told_at, version, ignored
    )
ORDER BY order_uid, record_timestamp, "partition", "offset"
ON CONFLICT DO NOTHING
