-- By which build a generation was frozen: another one may freeze the same model otherwise.
ALTER TABLE generations ADD COLUMN form TEXT NOT NULL DEFAULT '';
-- The datastore or workspace that a node belongs to, as an address; empty: an older build wrote the row.
ALTER TABLE node_versions ADD COLUMN owner TEXT NOT NULL DEFAULT '';
CREATE INDEX node_versions_owner ON node_versions (owner, until_generation);
CREATE INDEX node_versions_from ON node_versions (from_generation);
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
-- Nodes that are not yet as the newest generation says: which one changed them last. Freezing adds them, and
-- whoever takes one up removes it.
CREATE TABLE waiting_nodes (
    address TEXT NOT NULL PRIMARY KEY,
    platform TEXT NOT NULL,
    since BIGINT NOT NULL
) CLUSTERED;
CREATE INDEX waiting_nodes_platform ON waiting_nodes (platform, since);
-- Who agreed that a platform takes a generation up.
CREATE TABLE approvals (
    platform TEXT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    approved_at BIGINT NOT NULL,
    approved_by TEXT NOT NULL
) CLUSTERED;
-- What somebody who looks at the state should know of those that work on it, by topic; JSON.
CREATE TABLE notes (
    topic TEXT NOT NULL PRIMARY KEY,
    noted_at BIGINT NOT NULL,
    body TEXT NOT NULL
) CLUSTERED;
