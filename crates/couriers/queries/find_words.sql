-- find_words
-- The ids of couriers of whom each of the words $1 begins a word. The first one, the longest, is a range
-- of the primary key, of which at most 5,000 rows are read; the others are compared with the words of
-- each courier in it. A courier may be returned several times.
SELECT found.courier_id
FROM (
    SELECT word, courier_id FROM couriers.courier_words
    WHERE word >= ($1::text[])[1] AND word < ($1)[1] || chr(1114111)
    ORDER BY word, courier_id LIMIT 5000
) AS found
WHERE NOT EXISTS (
    SELECT FROM unnest(($1)[2:]) AS other (word)
    WHERE NOT EXISTS (
        SELECT FROM couriers.couriers AS courier,
            unnest(couriers.words_of(concat_ws(' ', name, phone, id))) AS own (word)
        WHERE courier.id = found.courier_id AND starts_with(own.word, other.word)
    )
)
ORDER BY found.word, found.courier_id
LIMIT $2
