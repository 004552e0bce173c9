-- Phone numbers in a table of their own: a courier's row is written twice for each order, each time with
-- a new entry in every index of the table, and the index of the phone numbers was one of them. And
-- the entries in the outbox, so that the sender need not look them up in the log.
--
-- Safe while the previous version is running: it does not use the new table, and triggers write the
-- table with the rights of its owner. Its rows of the outbox have no entry (NULL), and the sender
-- looks these up. Writers of couriers wait until this migration has read all couriers.

-- The phone numbers of couriers who are not retired.
CREATE TABLE couriers.courier_phones (
    phone text COLLATE "C" PRIMARY KEY
);

CREATE FUNCTION couriers.keep_phone() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        -- Not TRUNCATE: the statement may empty this table, too.
        DELETE FROM couriers.courier_phones;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' AND OLD.status <> 'retired' THEN
        DELETE FROM couriers.courier_phones WHERE phone = OLD.phone;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.status <> 'retired' THEN
        INSERT INTO couriers.courier_phones (phone) VALUES (NEW.phone);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_phone AFTER INSERT OR DELETE ON couriers.couriers
    FOR EACH ROW EXECUTE FUNCTION couriers.keep_phone();
-- An assignment changes the status: the condition is checked without a call of the function.
CREATE TRIGGER keep_changed_phone AFTER UPDATE OF phone, status ON couriers.couriers
    FOR EACH ROW WHEN (OLD.phone <> NEW.phone OR (OLD.status = 'retired') <> (NEW.status = 'retired'))
    EXECUTE FUNCTION couriers.keep_phone();
CREATE TRIGGER keep_no_phones AFTER TRUNCATE ON couriers.couriers
    FOR EACH STATEMENT EXECUTE FUNCTION couriers.keep_phone();

INSERT INTO couriers.courier_phones (phone)
SELECT phone FROM couriers.couriers WHERE status <> 'retired' ORDER BY phone COLLATE "C";

-- The columns of the entry in the log, as they are sent. The log has them all.
ALTER TABLE couriers.delivery_outbox
    ADD COLUMN status         text,
    ADD COLUMN courier_id     bigint,
    ADD COLUMN transport_type text,
    ADD COLUMN deadline       timestamptz,
    ADD COLUMN cause          text;
