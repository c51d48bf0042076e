ALTER TABLE clips ADD COLUMN estimate_seconds REAL NOT NULL DEFAULT 0;

CREATE TABLE costs (
    id            INTEGER PRIMARY KEY,
    at            INTEGER NOT NULL,
    mode          TEXT NOT NULL CHECK (mode IN ('exact', 'fast')),
    length        REAL NOT NULL,
    segments      INTEGER NOT NULL,
    method        TEXT NOT NULL CHECK (method IN ('splice', 'encode', 'copy')),
    decoded       REAL NOT NULL,
    encoded       REAL NOT NULL,
    copied        INTEGER NOT NULL,
    replaced      INTEGER NOT NULL,
    sound         INTEGER NOT NULL,
    frames        INTEGER NOT NULL,
    fetch_seconds REAL NOT NULL,
    cut_seconds   REAL NOT NULL,
    size          INTEGER NOT NULL,
    footprint     INTEGER NOT NULL
) STRICT;
