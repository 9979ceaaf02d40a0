"""PostgreSQL: the results of SQL queries as metrics."""

from collectors.postgres.collector import Postgres

__all__ = ["Postgres"]
