-- Clips that are made again are as they were before.
DELETE FROM segments WHERE clip_id IN (SELECT id FROM clips WHERE before IS NOT NULL);
INSERT INTO segments (clip_id, place, start_us, end_us)
    SELECT clips.id, wanted.key, CAST(round(json_extract(wanted.value, '$.start') * 1000000) AS INTEGER),
           CAST(round(json_extract(wanted.value, '$.end') * 1000000) AS INTEGER)
    FROM clips, json_each(clips.before, '$.segments') AS wanted WHERE clips.before IS NOT NULL;
UPDATE clips SET state = 'ready', recipe = before, before = NULL WHERE before IS NOT NULL;

DROP TRIGGER tally_clip;
CREATE TRIGGER tally_clip AFTER UPDATE OF state, bytes, pinned ON clips WHEN OLD.state = 'ready' OR NEW.state = 'ready' BEGIN
    UPDATE tallies SET
        clips = clips + NEW.bytes * (NEW.state = 'ready') - OLD.bytes * (OLD.state = 'ready'),
        pinned = pinned + NEW.bytes * NEW.pinned * (NEW.state = 'ready') - OLD.bytes * OLD.pinned * (OLD.state = 'ready');
END;
DROP TRIGGER tally_clip_out;
CREATE TRIGGER tally_clip_out AFTER DELETE ON clips WHEN OLD.state = 'ready' BEGIN
    UPDATE tallies SET clips = clips - OLD.bytes, pinned = pinned - OLD.bytes * OLD.pinned;
END;
ALTER TABLE clips DROP COLUMN sharing;
ALTER TABLE clips DROP COLUMN version;
ALTER TABLE clips DROP COLUMN before;
