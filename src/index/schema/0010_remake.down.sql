-- Clips that are made again are as they were before.
DELETE FROM segments WHERE clip_id IN (SELECT id FROM clips WHERE before IS NOT NULL);
INSERT INTO segments (clip_id, place, start_us, end_us)
    SELECT clips.id, wanted.key, CAST(round(json_extract(wanted.value, '$.start') * 1000000) AS INTEGER),
           CAST(round(json_extract(wanted.value, '$.end') * 1000000) AS INTEGER)
    FROM clips, json_each(clips.before, '$.segments') AS wanted WHERE clips.before IS NOT NULL;
UPDATE clips SET state = 'ready', recipe = before, before = NULL WHERE before IS NOT NULL;

-- No older version can read of another format than MP4, or of a result without pictures. What is there of those ends, what waits fails, and
-- all of it can be made again: as MP4.
CREATE TEMP TABLE unknown AS SELECT id FROM clips WHERE
    CASE WHEN json_valid(recipe) THEN coalesce(json_extract(recipe, '$.format'), 'mp4') <> 'mp4' ELSE 0 END
    OR CASE WHEN json_valid(outcome) THEN 'null' IN (json_type(outcome, '$.width'), json_type(outcome, '$.height'),
                                                     json_type(outcome, '$.fps'), json_type(outcome, '$.video_codec')) ELSE 0 END;
UPDATE clips SET
    failure = CASE WHEN state IN ('expired', 'failed', 'cancelled') THEN failure ELSE
        '{"code":"format_unknown","detail":"This clip has a format that this version of the service does not know.","hint":"Make it again: as MP4."}' END,
    finished_at = coalesce(finished_at, queued_at),
    state = CASE WHEN state = 'ready' THEN 'expired' WHEN state IN ('expired', 'failed', 'cancelled') THEN state ELSE 'failed' END,
    recipe = CASE WHEN json_valid(recipe) THEN json_set(recipe, '$.format', 'mp4') ELSE recipe END,
    outcome = CASE WHEN json_valid(outcome) THEN json_set(outcome,
        '$.width', coalesce(json_extract(outcome, '$.width'), 0), '$.height', coalesce(json_extract(outcome, '$.height'), 0),
        '$.fps', coalesce(json_extract(outcome, '$.fps'), 0.0), '$.video_codec', coalesce(json_extract(outcome, '$.video_codec'), ''))
        ELSE outcome END
WHERE id IN (SELECT id FROM unknown);
DROP TABLE unknown;
-- What is in the trash stays, so that it can be brought back. Recipe and result are texts in it.
UPDATE trash SET clip = json_set(clip, '$.recipe', '' || json_set(json_extract(clip, '$.recipe'), '$.format', 'mp4'))
WHERE json_valid(clip) AND json_valid(json_extract(clip, '$.recipe'));
UPDATE trash SET clip = json_set(clip, '$.outcome', '' || json_set(json_extract(clip, '$.outcome'),
    '$.width', coalesce(json_extract(json_extract(clip, '$.outcome'), '$.width'), 0),
    '$.height', coalesce(json_extract(json_extract(clip, '$.outcome'), '$.height'), 0),
    '$.fps', coalesce(json_extract(json_extract(clip, '$.outcome'), '$.fps'), 0.0),
    '$.video_codec', coalesce(json_extract(json_extract(clip, '$.outcome'), '$.video_codec'), '')))
WHERE json_valid(clip) AND json_valid(json_extract(clip, '$.outcome'));

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
