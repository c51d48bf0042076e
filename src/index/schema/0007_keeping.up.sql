-- All published files of the clip, the poster among them.
ALTER TABLE clips ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0);
-- Of the last view or download.
ALTER TABLE clips ADD COLUMN viewed_at INTEGER;
-- See clip/worth.rs: the lowest goes first when room is needed.
ALTER TABLE clips ADD COLUMN worth INTEGER NOT NULL DEFAULT 0;

UPDATE clips SET bytes = coalesce(json_extract(outcome, '$.size'), 0), worth = coalesce(finished_at, created_at)
WHERE state = 'ready';

CREATE INDEX clips_by_worth ON clips (worth) WHERE state = 'ready' AND pinned = 0;
DROP INDEX clips_expiring;
CREATE INDEX clips_expiring ON clips (expires_at, id) WHERE state = 'ready' AND pinned = 0;
CREATE INDEX clips_past ON clips (coalesce(expires_at, finished_at, created_at)) WHERE state IN ('expired', 'failed', 'cancelled');

CREATE INDEX idempotency_by_time ON idempotency (created_at);

CREATE TABLE trash (
    id         TEXT PRIMARY KEY NOT NULL,
    title      TEXT NOT NULL,
    why        TEXT NOT NULL CHECK (why IN ('removed', 'expired')),
    bytes      INTEGER NOT NULL,
    trashed_at INTEGER NOT NULL,
    -- The row to be brought back; none where it has stayed among the clips.
    clip       TEXT
) STRICT;

CREATE INDEX trash_by_time ON trash (trashed_at, id);

-- Sums that nobody has to scan for, kept by the triggers below in whatever transaction changes them.
CREATE TABLE tallies (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    clips   INTEGER NOT NULL,
    pinned  INTEGER NOT NULL,
    uploads INTEGER NOT NULL,
    trash   INTEGER NOT NULL
) STRICT;

INSERT INTO tallies (id, clips, pinned, uploads, trash) SELECT 1,
    (SELECT coalesce(sum(bytes), 0) FROM clips WHERE state = 'ready'),
    (SELECT coalesce(sum(bytes), 0) FROM clips WHERE state = 'ready' AND pinned = 1),
    (SELECT coalesce(sum(received), 0) FROM uploads),
    0;

CREATE TRIGGER tally_clip_in AFTER INSERT ON clips WHEN NEW.state = 'ready' BEGIN
    UPDATE tallies SET clips = clips + NEW.bytes, pinned = pinned + NEW.bytes * NEW.pinned;
END;
CREATE TRIGGER tally_clip_out AFTER DELETE ON clips WHEN OLD.state = 'ready' BEGIN
    UPDATE tallies SET clips = clips - OLD.bytes, pinned = pinned - OLD.bytes * OLD.pinned;
END;
CREATE TRIGGER tally_clip AFTER UPDATE OF state, bytes, pinned ON clips WHEN OLD.state = 'ready' OR NEW.state = 'ready' BEGIN
    UPDATE tallies SET
        clips = clips + NEW.bytes * (NEW.state = 'ready') - OLD.bytes * (OLD.state = 'ready'),
        pinned = pinned + NEW.bytes * NEW.pinned * (NEW.state = 'ready') - OLD.bytes * OLD.pinned * (OLD.state = 'ready');
END;
CREATE TRIGGER tally_upload_in AFTER INSERT ON uploads BEGIN
    UPDATE tallies SET uploads = uploads + NEW.received;
END;
CREATE TRIGGER tally_upload_out AFTER DELETE ON uploads BEGIN
    UPDATE tallies SET uploads = uploads - OLD.received;
END;
CREATE TRIGGER tally_upload AFTER UPDATE OF received ON uploads BEGIN
    UPDATE tallies SET uploads = uploads + NEW.received - OLD.received;
END;
CREATE TRIGGER tally_trash_in AFTER INSERT ON trash BEGIN
    UPDATE tallies SET trash = trash + NEW.bytes;
END;
CREATE TRIGGER tally_trash_out AFTER DELETE ON trash BEGIN
    UPDATE tallies SET trash = trash - OLD.bytes;
END;

-- Always empty: what was in it has left free pages in the file, which a full disk cannot refuse.
CREATE TABLE reserve (bytes BLOB NOT NULL) STRICT;
