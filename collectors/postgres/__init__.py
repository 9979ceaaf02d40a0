"""PostgreSQL: the results of SQL queries as metrics."""
