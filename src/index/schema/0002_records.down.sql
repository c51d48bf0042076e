DROP TABLE health_checks;
DROP TABLE samples;
DROP TABLE events;
