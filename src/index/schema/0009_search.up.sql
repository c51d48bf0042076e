-- Titles by every three characters of them (FTS5, trigram). A clip's `no` is its row there: rows of `clips` have no lasting number.
ALTER TABLE clips ADD COLUMN no INTEGER;
UPDATE clips SET no = ranked.no FROM (SELECT id, row_number() OVER (ORDER BY id) AS no FROM clips) AS ranked WHERE ranked.id = clips.id;
CREATE UNIQUE INDEX clips_by_no ON clips (no);

CREATE VIRTUAL TABLE titles USING fts5 (title, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1');

-- The two marks behind a title make each of its characters the first of three.
INSERT INTO titles (rowid, title) SELECT no, folded(title) || char(1, 1) FROM clips ORDER BY no;

CREATE TRIGGER clips_listed AFTER INSERT ON clips BEGIN
    UPDATE clips SET no = (SELECT coalesce(max(no), 0) + 1 FROM clips) WHERE id = new.id;
    INSERT INTO titles (rowid, title) SELECT no, folded(title) || char(1, 1) FROM clips WHERE id = new.id;
END;

CREATE TRIGGER clips_renamed AFTER UPDATE OF title ON clips WHEN new.title <> old.title BEGIN
    DELETE FROM titles WHERE rowid = old.no;
    INSERT INTO titles (rowid, title) VALUES (old.no, folded(new.title) || char(1, 1));
END;

CREATE TRIGGER clips_unlisted AFTER DELETE ON clips BEGIN
    DELETE FROM titles WHERE rowid = old.no;
END;

CREATE VIRTUAL TABLE titles_terms USING fts5vocab (titles, row);
