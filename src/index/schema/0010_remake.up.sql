-- The recipe of the file that is there and served while the clip is made again by another.
ALTER TABLE clips ADD COLUMN before TEXT CHECK (before IS NULL OR (state IN ('queued', 'fetching', 'cutting', 'storing')
    AND outcome IS NOT NULL AND file_name IS NOT NULL AND expires_at IS NOT NULL));
-- How often it became ready.
ALTER TABLE clips ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
-- The window that it shares with clips that were asked for together with it.
ALTER TABLE clips ADD COLUMN sharing TEXT;

UPDATE clips SET version = 1 WHERE outcome IS NOT NULL;

DROP TRIGGER tally_clip;
CREATE TRIGGER tally_clip AFTER UPDATE OF state, bytes, pinned, before ON clips
WHEN OLD.state = 'ready' OR OLD.before IS NOT NULL OR NEW.state = 'ready' OR NEW.before IS NOT NULL BEGIN
    UPDATE tallies SET
        clips = clips + NEW.bytes * (NEW.state = 'ready' OR NEW.before IS NOT NULL)
                      - OLD.bytes * (OLD.state = 'ready' OR OLD.before IS NOT NULL),
        pinned = pinned + NEW.bytes * NEW.pinned * (NEW.state = 'ready' OR NEW.before IS NOT NULL)
                        - OLD.bytes * OLD.pinned * (OLD.state = 'ready' OR OLD.before IS NOT NULL);
END;
DROP TRIGGER tally_clip_out;
CREATE TRIGGER tally_clip_out AFTER DELETE ON clips WHEN OLD.state = 'ready' OR OLD.before IS NOT NULL BEGIN
    UPDATE tallies SET clips = clips - OLD.bytes, pinned = pinned - OLD.bytes * OLD.pinned;
END;
