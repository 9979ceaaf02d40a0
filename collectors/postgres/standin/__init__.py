"""A stand-in for the source: a PostgreSQL of its own, with pull requests that come and go."""
