-- GET /rejected?key=…, which `waybill explain` asks for too. By hash, for a key may be longer than a
-- B-tree takes. Safe beside the previous version: rejections wait while it is made, and go on.
CREATE INDEX rejected_by_key ON orders.rejected_records USING hash (key);
