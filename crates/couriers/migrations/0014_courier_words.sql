-- The words of each courier, for the search: those of the name, the digits of the phone number, and the
-- id. A prefix of a word is a range of the primary key, so a search reads only the rows that it returns.
--
-- A table of its own: rows of couriers change with every assignment, and each index of that table would
-- make an assignment slower. The trigger below does not run for an assignment.
--
-- Safe while the previous version is running: it does not use the table, and the trigger writes it with
-- the rights of its owner. Writers of couriers wait until this migration has read all couriers.

-- Returns the words of a text, in lower case. Words end at spaces and at ASCII punctuation; this does
-- not depend on the locale of the database. Lower case does: with the locale C, PostgreSQL changes only
-- ASCII letters. So the function uses the rules of Unicode, if the server has them.
DO $$
DECLARE
    unicode text;
BEGIN
    SELECT format('COLLATE pg_catalog.%I', collname) INTO unicode
    FROM pg_catalog.pg_collation
    WHERE collname IN ('und-x-icu', 'pg_c_utf8')
        AND collencoding IN (-1, (SELECT encoding FROM pg_catalog.pg_database
            WHERE datname = pg_catalog.current_database()))
    ORDER BY collname DESC LIMIT 1;
    EXECUTE format($function$
        CREATE FUNCTION couriers.words_of(text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT AS $body$
            SELECT ARRAY(
                SELECT DISTINCT word
                FROM pg_catalog.unnest(pg_catalog.regexp_split_to_array(
                    pg_catalog.lower($1 %s) COLLATE "C", '[\s!-/:-@\[-`{-~]+'
                )) AS part (word)
                WHERE word <> ''
            )
        $body$
    $function$, coalesce(unicode, ''));
END
$$;

CREATE TABLE couriers.courier_words (
    word       text COLLATE "C" NOT NULL,
    -- No foreign key: it would make every change of couriers lock a row here.
    courier_id bigint NOT NULL,
    PRIMARY KEY (word, courier_id)
);

CREATE FUNCTION couriers.keep_words() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        -- Not TRUNCATE: the statement may empty this table, too.
        DELETE FROM couriers.courier_words;
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' AND (OLD.name, OLD.phone) = (NEW.name, NEW.phone) THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM couriers.courier_words WHERE courier_id = OLD.id
            AND word = ANY (couriers.words_of(concat_ws(' ', OLD.name, OLD.phone, OLD.id)));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO couriers.courier_words (word, courier_id)
        SELECT word, NEW.id
        FROM unnest(couriers.words_of(concat_ws(' ', NEW.name, NEW.phone, NEW.id))) AS word
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_words AFTER INSERT OR DELETE OR UPDATE OF name, phone ON couriers.couriers
    FOR EACH ROW EXECUTE FUNCTION couriers.keep_words();
CREATE TRIGGER keep_no_words AFTER TRUNCATE ON couriers.couriers
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.keep_words();

INSERT INTO couriers.courier_words (word, courier_id)
SELECT word, courier.id
FROM couriers.couriers AS courier,
    unnest(couriers.words_of(concat_ws(' ', courier.name, courier.phone, courier.id))) AS word
ORDER BY word, courier.id;

-- The lists of paused and of retired couriers, in the order in which the match would take them. A courier
-- who is available or busy is not in this index, so an assignment does not write it.
CREATE INDEX couriers_off_duty ON couriers.couriers (status, deliveries, free_since, id)
    WHERE status IN ('paused', 'retired');
