-- One text for both systems. `IDENTITY` is a growing number that is the primary key, `CLUSTERED`
-- keeps rows in the order of their key where the system can. Times are µs since 1970, truth values
-- 0 or 1. The largest BIGINT, 9223372036854775807, stands for "still open" in `until_generation`.

CREATE TABLE target (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    generation BIGINT NOT NULL,
    -- New rows of hot_nodes start at this epoch, so that a node that comes back never repeats one.
    epoch_floor BIGINT NOT NULL
);
INSERT INTO target (one, generation, epoch_floor) VALUES (1, 0, 0);

-- Which state this is: consumers' marks carry it, so that two states never take turns on one table.
CREATE TABLE identity (
    id TEXT NOT NULL PRIMARY KEY
);

CREATE TABLE generations (
    generation BIGINT NOT NULL PRIMARY KEY,
    parent BIGINT,
    revision TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    added BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    removed BIGINT NOT NULL
);

CREATE TABLE pointers (
    platform TEXT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL
) CLUSTERED;

CREATE TABLE node_contents (
    content BYTEA NOT NULL PRIMARY KEY,
    -- The version of the JSON in `node`.
    format BIGINT NOT NULL,
    node TEXT NOT NULL
);

CREATE TABLE node_versions (
    address TEXT NOT NULL,
    from_generation BIGINT NOT NULL,
    until_generation BIGINT NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (address, from_generation)
) CLUSTERED;
CREATE INDEX node_versions_until ON node_versions (until_generation, from_generation);

CREATE TABLE choice_versions (
    -- `workspace`: the platforms of its groups, as JSON; `primary`: the platform of a datastore.
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    from_generation BIGINT NOT NULL,
    until_generation BIGINT NOT NULL,
    choice TEXT NOT NULL,
    PRIMARY KEY (kind, name, from_generation)
) CLUSTERED;
CREATE INDEX choice_versions_until ON choice_versions (until_generation, from_generation);

CREATE TABLE edges (
    lower TEXT NOT NULL,
    upper TEXT NOT NULL,
    is_self BIGINT NOT NULL,
    PRIMARY KEY (lower, upper)
) CLUSTERED;
CREATE INDEX edges_upper ON edges (upper);

CREATE TABLE hot_nodes (
    address TEXT NOT NULL PRIMARY KEY,
    content BYTEA NOT NULL,
    generation BIGINT NOT NULL,
    is_retiring BIGINT NOT NULL,
    -- An ingest of a transformer's output: the same position is never committed twice.
    is_output BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    due_at BIGINT,
    is_changed BIGINT NOT NULL,
    lease_owner TEXT,
    lease_until BIGINT,
    epoch BIGINT NOT NULL,
    -- What the row was when the lease began, and which call began it.
    claim_mark BIGINT NOT NULL,
    claimed_due_at BIGINT,
    claimed_generation BIGINT NOT NULL,
    claimed_retiring BIGINT NOT NULL,
    -- What the lease's job works on; it goes back to `payload` unless the job does what it had to.
    claimed_payload TEXT,
    attempt BIGINT NOT NULL,
    is_failed BIGINT NOT NULL,
    error TEXT,
    payload TEXT,
    memory TEXT,
    succeeded_at BIGINT
) CLUSTERED;
CREATE INDEX hot_nodes_due ON hot_nodes (priority, due_at, address) WHERE due_at IS NOT NULL AND lease_owner IS NULL;
CREATE INDEX hot_nodes_leased ON hot_nodes (lease_owner) WHERE lease_owner IS NOT NULL;

CREATE TABLE streams (
    stream TEXT NOT NULL PRIMARY KEY,
    batch BIGINT NOT NULL,
    position BYTEA NOT NULL,
    incarnation TEXT NOT NULL,
    committed_at BIGINT NOT NULL
) CLUSTERED;

CREATE TABLE batches (
    stream TEXT NOT NULL,
    batch BIGINT NOT NULL,
    committed_at BIGINT NOT NULL,
    incarnation TEXT NOT NULL,
    position BYTEA NOT NULL,
    inserts BIGINT NOT NULL,
    updates BIGINT NOT NULL,
    deletes BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    PRIMARY KEY (stream, batch)
);
CREATE INDEX batches_committed_at ON batches (stream, committed_at);

-- What pulls have covered: by which stream and under which schema last.
CREATE TABLE datasets (
    dataset TEXT NOT NULL PRIMARY KEY,
    stream TEXT NOT NULL,
    schema_id BIGINT NOT NULL
) CLUSTERED;

CREATE TABLE manifests (
    dataset TEXT NOT NULL,
    batch BIGINT NOT NULL,
    schema_id BIGINT NOT NULL,
    inline_body BYTEA,
    files TEXT,
    inserts BIGINT NOT NULL,
    updates BIGINT NOT NULL,
    deletes BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (dataset, batch)
);

CREATE TABLE schemas (
    dataset TEXT NOT NULL,
    schema_id BIGINT NOT NULL,
    columns TEXT NOT NULL,
    field_ids TEXT NOT NULL,
    PRIMARY KEY (dataset, schema_id)
);

CREATE TABLE deliveries (
    export TEXT NOT NULL PRIMARY KEY,
    batch BIGINT NOT NULL,
    incarnation TEXT NOT NULL,
    shape TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    delivered_at BIGINT NOT NULL,
    rows_moved BIGINT NOT NULL,
    bytes_moved BIGINT NOT NULL
) CLUSTERED;

CREATE TABLE obligations (
    dataset TEXT NOT NULL,
    owed_to TEXT NOT NULL,
    because TEXT NOT NULL,
    -- Empty: until the hold is lifted.
    retention TEXT NOT NULL,
    since BIGINT NOT NULL,
    left_at BIGINT,
    PRIMARY KEY (dataset, owed_to, because, retention)
) CLUSTERED;

CREATE TABLE runs (
    id IDENTITY,
    day BIGINT NOT NULL,
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    error TEXT,
    rows_moved BIGINT NOT NULL,
    bytes_moved BIGINT NOT NULL,
    batch BIGINT
);
CREATE INDEX runs_day ON runs (day);
