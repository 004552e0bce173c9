-- insert_new_events
-- As insert_events; fails if one of them is recorded already.
INSERT INTO orders.order_events (
    order_uid, record_timestamp, "partition", "offset", word, rank, told_at, version, ignored, topic
)
SELECT
    unnest($1::text[]), unnest($2::timestamptz[]), unnest($3::integer[]), unnest($4::bigint[]),
    unnest($5::text[]), unnest($6::smallint[]), unnest($7::timestamptz[]), unnest($8::integer[]),
    unnest($9::text[]), $10
