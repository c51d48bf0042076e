DROP TABLE costs;
ALTER TABLE clips DROP COLUMN estimate_seconds;
