CREATE TABLE uploads (
    id         TEXT PRIMARY KEY NOT NULL,
    visitor    TEXT NOT NULL,
    length     INTEGER NOT NULL CHECK (length >= 0),
    received   INTEGER NOT NULL DEFAULT 0 CHECK (received BETWEEN 0 AND length),
    metadata   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX uploads_by_visitor ON uploads (visitor, length);
CREATE INDEX uploads_by_use ON uploads (used_at);
CREATE INDEX uploads_unfinished ON uploads (used_at, length, received) WHERE received < length;

-- No reference: a clip outlives the upload that it was made from.
ALTER TABLE clips ADD COLUMN upload TEXT;
CREATE INDEX clips_by_upload ON clips (upload, state, finished_at) WHERE upload IS NOT NULL;
