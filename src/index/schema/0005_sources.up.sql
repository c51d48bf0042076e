CREATE TABLE sources (
    id         TEXT PRIMARY KEY NOT NULL,
    source     TEXT NOT NULL,
    sighting   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX sources_by_source ON sources (source, created_at);
CREATE INDEX sources_expiring ON sources (expires_at);
