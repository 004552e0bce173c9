-- A rejected record that needs no more work is settled. settled_by is the X-Actor of the call, which is
-- not verified. settled_why is the operator's note, empty if there is none, or NULL if a replay of
-- the record has settled it. Each replay also has `by` and `outcome` now.
--
-- Safe while the previous version is running: it reads and writes the table without these columns,
-- which have no default, so the table is not rewritten. Its replays settle nothing. Rejections wait
-- while the indexes are made, and then go on.
ALTER TABLE couriers.rejected_records
    ADD COLUMN settled_at timestamptz,
    ADD COLUMN settled_by text,
    ADD COLUMN settled_why text;

-- GET /rejected: the records that are left, all or of one reason, and those that are settled.
CREATE INDEX rejected_left
    ON couriers.rejected_records (rejected_at DESC, topic DESC, "partition" DESC, "offset" DESC)
    WHERE settled_at IS NULL;
CREATE INDEX rejected_left_by_reason
    ON couriers.rejected_records (reason, rejected_at DESC, topic DESC, "partition" DESC, "offset" DESC)
    WHERE settled_at IS NULL;
CREATE INDEX rejected_settled
    ON couriers.rejected_records (rejected_at DESC, topic DESC, "partition" DESC, "offset" DESC)
    WHERE settled_at IS NOT NULL;
