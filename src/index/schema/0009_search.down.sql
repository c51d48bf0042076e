DROP TRIGGER clips_listed;
DROP TRIGGER clips_renamed;
DROP TRIGGER clips_unlisted;
DROP TABLE titles_terms;
DROP TABLE titles;
DROP INDEX clips_by_no;
ALTER TABLE clips DROP COLUMN no;
