"""What ``ci-exporter check --online`` tells of query files, as a user runs it, on a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from collectors.postgres.database import Database
from collectors.postgres.spec import Query
from tests.support.process import free_port, run_here

Check = Callable[..., subprocess.CompletedProcess[str]]
Sql = Callable[[str], Any]


@pytest.fixture
def sql(postgres_database: str) -> Sql:
    """Another client of the same database."""

    def run(statement: str) -> Any:
        with psycopg.connect(postgres_database, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def check(postgres_database: str, tmp_path: Path) -> Check:
    """Runs ``check --online`` with the given query files."""

    def run(
        *files: dict[str, Any], dsn: str = postgres_database, **config: Any
    ) -> subprocess.CompletedProcess[str]:
        paths = []
        for number, file in enumerate(files):
            path = tmp_path / f"{number}.collector.yml"
            path.write_text(yaml.safe_dump({"collector_name": f"f{number}", **file}, sort_keys=False))
            paths.append(str(path))
        block = {"databases": {"main": {"dsn": dsn, "files": paths}}, "statement_timeout": 5}
        path = tmp_path / "config.yaml"
        path.write_text(
            yaml.safe_dump(
                {
                    "store": {"url": f"sqlite:///{tmp_path / 'store.db'}"},
                    "collectors": {"postgres": block},
                    **config,
                }
            )
        )
        return run_here("check", "--online", "--config", str(path))

    return run


def metric(name: str, query: str, *labels: str, value: str = "n", **more: Any) -> dict[str, Any]:
    """One metric of a file, its value in the column *value*."""
    return {
        "metric_name": name, "type": "gauge", "help": "h", "key_labels": list(labels), "values": [value],
        "query": query, **more,
    }  # fmt: skip


def row(done: subprocess.CompletedProcess[str], name: str) -> list[str]:
    """The cells of the line that begins with *name*."""
    return next(line.split() for line in done.stdout.splitlines() if line.split()[:1] == [name])


def test_a_good_file_is_shown_with_rows_series_time_cost_and_examples(check: Check, sql: Sql) -> None:
    sql("CREATE TABLE prs AS SELECT 'repo-' || g AS repo, g AS n, g * 10 AS age FROM generate_series(1, 5) g")
    long = "x" * 100
    query = f"SELECT repo, '{long}' AS long, E'\\x1b[2J\"' AS odd, n, age FROM prs ORDER BY n"
    one = {"metric_name": "pr_open", "type": "gauge", "help": "h", "key_labels": ["repo", "long", "odd"]}
    done = check(
        {
            "metrics": [
                {**one, "values": ["n"], "query_ref": "prs"},
                {**one, "metric_name": "pr_age", "values": ["age"], "query_ref": "prs"},
            ],
            "queries": [{"query_name": "prs", "query": query}],
        }
    )
    assert done.returncode == 0, done.stderr
    assert "postgres: 14 series from 1 query files\n" in done.stdout
    assert "  database main (/tmp/" in done.stdout
    _, rows, seconds, series, cost, planned = row(done, "prs")
    assert (rows, series) == ("5", "10")
    assert 0 <= float(seconds) < 5
    assert float(cost) > 0
    assert int(planned.replace(",", "")) > 0
    assert row(done, "pr_open") == ["pr_open", "5"]
    examples = [line.strip() for line in done.stdout.splitlines() if "{" in line]
    assert [line.split("{")[0] for line in examples] == ["pr_open", "pr_age", "pr_open"]
    assert examples[1] == 'pr_age{long="' + "x" * 39 + '…",odd="\ufffd[2J\\"",repo="repo-1"} 10.0'
    assert "warning" not in done.stdout
    columns = [
        line for line in done.stdout.splitlines() if line.split()[:1] in (["query"], ["prs"], ["pr_age"])
    ]
    assert (
        len(
            {
                line.index(word) + len(word)
                for line, word in zip(columns, ("series", " 10", " 5"), strict=True)
            }
        )
        == 1
    )


def test_a_failing_query_is_told_and_the_others_are_shown(check: Check, sql: Sql) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS n")
    done = check(
        {"metrics": [metric("good", "SELECT n FROM t"), metric("bad", "SELECT m FROM t")]},
        {"metrics": [metric("lacking", "SELECT n AS k FROM t"), metric("worse", "SELECT 'x' AS n")]},
    )
    assert done.returncode == 1
    assert row(done, "good")[1:2] == ["1"]
    assert row(done, "bad")[1:2] == ["failed"]
    assert row(done, "bad")[4:] == ["no", "plan", "-"]
    assert "failed: database main, query bad: column" in done.stdout
    assert "failed: database main, query lacking: the result lacks the column n; it has k" in done.stdout
    assert "rows left out: column n, row 1" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_warnings_alone_are_no_failure(check: Check, sql: Sql) -> None:
    sql("CREATE TABLE t AS SELECT g AS n, 'r' || g % 20 AS repo FROM generate_series(1, 100) g")
    nulls = "SELECT repo, CASE WHEN n <= 20 THEN n END AS n FROM t WHERE n <= 25"
    done = check(
        {
            "ci_exporter": {"metrics": {"capped": {"max_series": 7}}},
            "metrics": [
                metric("capped", "SELECT repo, count(*) AS n FROM t GROUP BY repo", "repo"),
                metric("twice", "SELECT repo, n FROM t", "repo"),
                metric("nulls", nulls, "repo"),
                metric("all_of_them", "SELECT n::text AS k, n FROM t", "k"),
            ],
        },
        {"metrics": [metric("twice", "SELECT 'r1' AS repo, 1 AS n", "repo")]},
        metrics={"max_series_per_family": 50},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = [line.split("warning: ")[1] for line in done.stdout.splitlines() if "warning: " in line]
    assert [warning.split(";")[0] for warning in warnings] == [
        "capped would have 20 series, and its max_series is 7: the rest is dropped",
        "twice: 80 duplicates dropped: rows with the labels of an earlier one",
        "5 NULL values skipped",
        "all_of_them would have 100 series with this query, and metrics.max_series_per_family is 50: the rest"
        " is dropped",
        "twice: 1 duplicate dropped: series that main/f0, query f0.twice gives already",
    ]


def test_reading_a_large_table_whole_is_told(check: Check, sql: Sql) -> None:
    sql("CREATE TABLE big AS SELECT g AS id, g % 7 AS n, 'x' || g AS name FROM generate_series(1, 200000) g")
    sql("CREATE INDEX ON big (id); ANALYZE big")
    done = check(
        {
            "ci_exporter": {"parameters": {"wanted": "x77"}},
            "metrics": [
                metric("filtered", "SELECT n FROM big WHERE name = %(wanted)s"),
                metric("counted", "SELECT count(*) AS n FROM big WHERE n >= 0"),
                metric("indexed", "SELECT n FROM big WHERE id = 77"),
            ],
        },
    )
    assert done.returncode == 0, done.stdout
    warnings = [line.split("warning: ")[1] for line in done.stdout.splitlines() if "warning: " in line]
    assert len(warnings) == 2
    assert warnings[0] == (
        "reads the whole table public.big (200,000 rows, estimated); an index on what it filters by may help:"
        " (big.name = 'x77'::text)"
    )
    assert "(big.n >= 0)" in warnings[1]
    assert row(done, "filtered")[1] == "1"
    assert row(done, "filtered")[5] == "1", "the planner knew the parameter"


def test_histograms_and_events_count_what_they_would_show(check: Check, sql: Sql) -> None:
    sql(
        "CREATE TABLE merged AS SELECT g AS id, 'r' || g % 2 AS repo, g * 60.0 AS n"
        " FROM generate_series(1, 9) g"
    )
    query = "SELECT id, repo, n FROM merged ORDER BY id"
    done = check(
        {
            "ci_exporter": {
                "metrics": {
                    "wait_seconds": {"buckets": [60, 300]},
                    "merge_seconds": {"buckets": [60, 300], "once_by": ["id"]},
                    "merges": {"once_by": ["id"], "counter": True},
                }
            },
            "metrics": [
                metric("wait_seconds", query, "repo"),
                metric("merge_seconds", query, "repo"),
                metric("merges", query, "repo"),
            ],
        },
    )
    assert done.returncode == 0, done.stdout
    assert row(done, "wait_seconds")[3] == row(done, "merge_seconds")[3] == "10"
    assert row(done, "merges")[3] == "2"
    assert 'wait_seconds_count{repo="r1"} 5.0' in done.stdout
    assert 'merge_seconds_count{repo="r1"} 5.0' in done.stdout
    assert 'merges{repo="r0"} 1200.0' in done.stdout


def test_statements_without_a_plan_are_run_and_say_so(check: Check, sql: Sql) -> None:
    done = check(
        {
            "metrics": [
                metric("shown", "SHOW port", value="port"),
                metric("several", "SET LOCAL work_mem = '8MB'; SELECT 1 AS n", no_prepared_statement=True),
                metric("percent", "-- 100%\n(SELECT 5 % 3 AS n);"),
                metric("stamped", "SELECT 1 AS n, now() AS at", timestamp_value="at"),
            ]
        }
    )
    assert done.returncode == 0, done.stdout
    assert row(done, "shown")[4:] == ["no", "plan", "-"]
    assert row(done, "several")[4:] == ["no", "plan", "-"]
    assert row(done, "percent")[5] == "1"
    assert "stamped 1.0 1" in done.stdout


def test_nothing_is_written_or_sent(check: Check, sql: Sql, postgres_database: str) -> None:
    sql("CREATE TABLE trace (at timestamptz)")
    sql("CREATE FUNCTION sly() RETURNS int LANGUAGE sql AS 'INSERT INTO trace VALUES (now()) RETURNING 1'")
    with psycopg.connect(postgres_database, autocommit=True) as listener:
        listener.execute("LISTEN c")
        done = check(
            {
                "ci_exporter": {"listen": "c"},
                "metrics": [
                    metric("sly", "SELECT sly() AS n"),
                    metric("loud", "SELECT 1 AS n FROM (SELECT pg_notify('c', 'x')) AS told"),
                ],
            }
        )
        assert list(listener.notifies(timeout=0.5)) == []
    assert done.returncode == 1
    assert "cannot execute INSERT in a read-only transaction" in done.stdout
    assert row(done, "loud")[1] == "1"
    assert sql("SELECT count(*) FROM trace") == [(0,)]


def test_a_rehearsed_snapshot_is_rolled_back(database: Database) -> None:
    with database.snapshot(statement_timeout=5, discard=True) as snapshot:
        snapshot.run(Query("q", "SELECT set_config('search_path', 'elsewhere', false)"))
    with database.snapshot(statement_timeout=5) as snapshot:
        assert snapshot.run(Query("q", "SHOW search_path")).rows != [("elsewhere",)]


def test_a_database_out_of_reach_is_told_without_its_password(check: Check) -> None:
    done = check(
        {"metrics": [metric("a", "SELECT 1 AS n"), metric("b", "SELECT 2 AS n")]},
        dsn=f"postgresql://me:hush-hush@127.0.0.1:{free_port()}/ci",
    )
    assert done.returncode == 1
    assert "  database main (127.0.0.1:" in done.stdout
    assert row(done, "a")[1:] == ["failed", "-", "-", "not", "planned", "-"]
    assert "cannot be reached" in done.stdout
    assert "hush-hush" not in done.stdout + done.stderr


def test_the_password_of_a_good_dsn_is_not_shown(check: Check, sql: Sql, postgres_database: str) -> None:
    done = check(
        {"metrics": [metric("a", "SELECT 1 AS n"), metric("b", "SELECT nope AS n")]},
        dsn=postgres_database.replace("postgres@", "postgres:hush-hush@"),
    )
    assert done.returncode == 1
    assert row(done, "a")[1] == "1"
    assert "hush-hush" not in done.stdout + done.stderr
