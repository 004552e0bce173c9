-- The index that courier_phones replaces. A migration of its own, so that nobody waits for the lock of
-- this one while 0015 reads all couriers. The constraint gets the index's name, by which both
-- versions recognise a phone number that is taken. The previous version looks for such numbers
-- without an index while it is running: adding many couriers takes it longer.
DROP INDEX couriers.couriers_phone;
ALTER TABLE couriers.courier_phones RENAME CONSTRAINT courier_phones_pkey TO couriers_phone;
