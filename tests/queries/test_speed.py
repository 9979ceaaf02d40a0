"""The reports on many pull requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

COUNT = 200_000
# One a minute; the newest ones and a few forgotten ones are open.
_FILL = """
INSERT INTO projects SELECT n, 'P' || n FROM generate_series(1, 50) AS n;
INSERT INTO expected_reports
SELECT id, kind, '10 min' FROM projects CROSS JOIN (VALUES ('coverage'), ('tests')) AS kinds (kind);
INSERT INTO pull_requests
SELECT
    n, n % 50 + 1, n, '', CASE WHEN is_open THEN 'open' WHEN n % 7 = 0 THEN 'declined' ELSE 'merged' END,
    opened, opened + interval '30 s', CASE WHEN NOT is_open THEN opened + interval '50 s' END
FROM generate_series(1, {count}) AS n
CROSS JOIN LATERAL (SELECT now() - n * interval '1 min', n % 1000 = 0 OR n < 2000 AND n % 3 = 0)
    AS facts (opened, is_open);
INSERT INTO reports
SELECT n, kind, 'passed' FROM generate_series(1, {count}) AS n
CROSS JOIN (VALUES ('coverage'), ('tests')) AS kinds (kind) WHERE n % 1000 <> 0 OR kind <> 'tests';
INSERT INTO checks
SELECT n, 'check ' || k, 'passed' FROM generate_series(1, {count}) AS n CROSS JOIN generate_series(1, 2) AS k;
ANALYZE
"""


@pytest.fixture(scope="module")
def large(postgres_url: str, queries: Path) -> Iterator[psycopg.Connection[Any]]:
    """A database with that many pull requests."""
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(b"CREATE DATABASE large_reports")
        try:
            url = postgres_url.replace("/postgres?", "/large_reports?")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute((queries / "schema.sql").read_bytes())
                # Foreign keys are not what is tested, and checking each takes longer than the rest.
                connection.execute(b"SET session_replication_role = replica")
                connection.execute(_FILL.format(count=COUNT).encode())
                yield connection
        finally:
            server.execute(b"DROP DATABASE large_reports WITH (FORCE)")


@pytest.mark.parametrize(
    "name",
    [
        *("pr_open", "pr_closed", "pr_result_report", "pr_check_summary", "pr_missing_report"),
        *("pr_oldest_open_age", "pr_time_to_first_review", "pr_time_to_merge"),
    ],
)
def test_a_report_reads_only_what_it_needs(
    large: psycopg.Connection[Any], report: Callable[[str], dict[str, Any]], name: str
) -> None:
    (metric,) = report(name)["metrics"]
    row = large.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {metric['query']}".encode()).fetchone()
    assert row is not None
    (explained,) = row[0]
    assert explained["Execution Time"] < 10_000  # milliseconds; a hundred on a quiet machine
    nodes = list(_nodes(explained["Plan"]))
    # Each row that comes out of a node, as often as it is run: a quadratic plan has far more than rows.
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in nodes) < 3 * COUNT
    assert [
        node
        for node in nodes
        if node["Node Type"].endswith("Seq Scan") and node["Relation Name"] == "pull_requests"
    ] == []


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
