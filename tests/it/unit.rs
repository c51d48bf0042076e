//! The unit: what systemd says of it, whether it lets through what the service does, and what it starts when the service has failed.
