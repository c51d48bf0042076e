DROP INDEX clips_by_upload;
ALTER TABLE clips DROP COLUMN upload;
DROP TABLE uploads;
