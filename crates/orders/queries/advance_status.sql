-- advance_status
WITH
-- The highest status that one batch tells of each order, by the earliest record that tells it.
incoming AS (
    SELECT * FROM UNNEST ($1::text[], $2::smallint[], $3::timestamptz[], $4::integer[], $5::bigint[])
        AS t (order_uid, rank, since, "partition", "offset")
),
-- How the orders stand. Locked, for the batch's events are judged by it; in the order of their
-- keys.
known AS (
    SELECT order_uid, stored.rank, stored.since, stored."partition", stored."offset"
    FROM orders.order_status AS stored JOIN incoming USING (order_uid)
    ORDER BY order_uid
    FOR UPDATE OF stored
),
-- Only what changes is written.
advanced AS (
    UPDATE orders.order_status AS stored SET
        rank = incoming.rank,
        since = incoming.since,
        "partition" = incoming."partition",
        "offset" = incoming."offset",
        topic = $6
    FROM incoming JOIN known USING (order_uid)
    WHERE stored.order_uid = incoming.order_uid
        AND (
            known.rank < incoming.rank
            OR known.rank = incoming.rank
                AND (incoming.since, incoming."partition", incoming."offset")
                < (known.since, known."partition", known."offset")
        )
)
SELECT order_uid, rank FROM known
