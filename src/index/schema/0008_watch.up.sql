CREATE INDEX events_by_kind ON events (kind, seq);

-- How each resource was judged last: what is told once per change has to know what was told before a restart.
CREATE TABLE verdicts (
    resource TEXT PRIMARY KEY NOT NULL,
    verdict  TEXT NOT NULL CHECK (verdict IN ('ok', 'high', 'critical')),
    since    INTEGER NOT NULL,
    detail   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Entries of the trail that are still to be posted.
CREATE TABLE alerts (
    seq      INTEGER PRIMARY KEY NOT NULL,
    at       INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX alerts_due ON alerts (next_at);

-- The last entry of the trail that was looked at for alerts: what is older is never told.
CREATE TABLE alerts_seen (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL
) STRICT;

INSERT INTO alerts_seen (one, seq) VALUES (1, (SELECT coalesce(max(seq), 0) FROM events));
