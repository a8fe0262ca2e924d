-- Whose workers run a row: empty for those started anywhere, else the platform whose pods do.
ALTER TABLE hot_nodes ADD COLUMN host TEXT NOT NULL DEFAULT '';
DROP INDEX hot_nodes_due;
CREATE INDEX hot_nodes_due ON hot_nodes (host, priority, due_at, address)
    WHERE due_at IS NOT NULL AND lease_owner IS NULL;
