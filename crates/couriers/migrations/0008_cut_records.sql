-- Of a key or a value above 1 MiB only the first 64 KiB are stored. These columns have the length and
-- the SHA-256 of all of it, and NULL for a key or a value that is stored whole. headers has the
-- record's own headers, as an array of [name, value in Base64 or null]; of headers above 1 MiB only
-- headers_length, the length of all names and values, is stored. The type is json, because the
-- array is only read as a whole.
--
-- Safe while the previous version is running: it inserts without these columns, which have no
-- default, so the table is not rewritten. Records of that version have no headers (NULL).
ALTER TABLE couriers.rejected_records
    ADD COLUMN key_length bigint,
    ADD COLUMN key_sha256 bytea,
    ADD COLUMN value_length bigint,
    ADD COLUMN value_sha256 bytea,
    ADD COLUMN headers_length bigint,
    ADD COLUMN headers json;
