CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    data        TEXT NOT NULL DEFAULT '{}',
    duration_ms INTEGER,
    error       TEXT
) STRICT;

CREATE INDEX events_by_subject ON events (subject, seq);
CREATE INDEX events_by_time ON events (at);

CREATE TABLE samples (
    metric TEXT NOT NULL,
    at     INTEGER NOT NULL,
    value  REAL NOT NULL,
    unit   TEXT NOT NULL,
    PRIMARY KEY (metric, at)
) STRICT, WITHOUT ROWID;

CREATE INDEX samples_by_time ON samples (at);

CREATE TABLE health_checks (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    name   TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('ok', 'failing')),
    detail TEXT NOT NULL
) STRICT;

CREATE INDEX health_checks_by_time ON health_checks (at);
