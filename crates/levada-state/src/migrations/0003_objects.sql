-- By which build a generation was frozen: another one may freeze the same model otherwise.
ALTER TABLE generations ADD COLUMN form TEXT NOT NULL DEFAULT '';
-- The datastore or workspace that a node belongs to, as an address; empty: an older build wrote the row.
ALTER TABLE node_versions ADD COLUMN owner TEXT NOT NULL DEFAULT '';
CREATE INDEX node_versions_owner ON node_versions (owner, until_generation);
-- The objects of the model that a generation was frozen from.
CREATE TABLE object_versions (
    object TEXT NOT NULL,
    from_generation BIGINT NOT NULL,
    until_generation BIGINT NOT NULL,
    content BYTEA NOT NULL,
    -- Whom it names, and what it demands, as JSON.
    said TEXT NOT NULL,
    PRIMARY KEY (object, from_generation)
) CLUSTERED;
CREATE INDEX object_versions_until ON object_versions (until_generation, from_generation);
