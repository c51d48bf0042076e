DROP TABLE alerts_seen;
DROP TABLE alerts;
DROP TABLE verdicts;
DROP INDEX events_by_kind;
