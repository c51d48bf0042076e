CREATE TABLE clips (
    id          TEXT PRIMARY KEY NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('queued', 'fetching', 'cutting', 'storing', 'ready', 'expired', 'failed', 'cancelled')),
    title       TEXT NOT NULL,
    recipe      TEXT NOT NULL,
    outcome     TEXT,
    file_name   TEXT,
    failure     TEXT,
    visitor     TEXT NOT NULL,
    estimate    INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    queued_at   INTEGER NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER,
    expires_at  INTEGER,
    pinned      INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    views       INTEGER NOT NULL DEFAULT 0,
    downloads   INTEGER NOT NULL DEFAULT 0,
    CHECK (state <> 'ready' OR (outcome IS NOT NULL AND file_name IS NOT NULL AND expires_at IS NOT NULL))
) STRICT;

CREATE INDEX clips_waiting ON clips (queued_at, id) WHERE state = 'queued';
CREATE INDEX clips_by_visitor ON clips (visitor, started_at);
CREATE INDEX clips_running ON clips (visitor) WHERE state IN ('fetching', 'cutting', 'storing');
CREATE INDEX clips_expiring ON clips (expires_at) WHERE state = 'ready';
CREATE INDEX clips_by_state ON clips (state, id);

CREATE TABLE segments (
    clip_id  TEXT NOT NULL REFERENCES clips (id) ON DELETE CASCADE,
    place    INTEGER NOT NULL,
    start_us INTEGER NOT NULL,
    end_us   INTEGER NOT NULL CHECK (end_us > start_us),
    PRIMARY KEY (clip_id, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    visitor    TEXT NOT NULL,
    key        TEXT NOT NULL,
    body_hash  TEXT NOT NULL,
    clip_id    TEXT NOT NULL REFERENCES clips (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (visitor, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_clip ON idempotency (clip_id);
