DROP TABLE idempotency;
DROP TABLE segments;
DROP TABLE clips;
