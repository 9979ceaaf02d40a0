"""Query files as people write them for sql_exporter, unchanged, on a real PostgreSQL: all their series."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from tests.support.postgres import PostgresServer
from tests.support.process import run_cli

SCHEMA = r"""
CREATE TABLE builds (id int, team text, state text, seconds numeric, "startedAt" timestamptz, facts text);
INSERT INTO builds VALUES
    (1, 'core', 'ok',     12.5, '2026-01-02 03:04:05.678+00', '{"agent": "a 1", "took": "12s", "tags": []}'),
    (2, 'core', 'ok',      7.5, '2026-01-02 04:04:05+00',     '{"agent": "b", "took": "0"}'),
    (3, 'core', 'failed',  NULL, '2026-01-03 00:00:00+02',    '{"agent": "a 1", "took": "3s", "tags": []}'),
    (4, NULL,   'ok',      1,    NULL,                        '{}'),
    (5, 'docs/trash/old "x"', 'ok\', 2, NULL,                 '{}');
CREATE VIEW build_summary AS
    SELECT 'all'::text AS scope, count(*) AS builds, sum(seconds) AS seconds, true AS healthy FROM builds;
CREATE FUNCTION slow_builds(lowest int) RETURNS TABLE (team text, number bigint) LANGUAGE plpgsql AS $body$
BEGIN
    RETURN QUERY SELECT b.team, count(*) FROM builds b WHERE b.seconds >= lowest GROUP BY 1 ORDER BY 1;
END
$body$;
"""

# Every file with the lines of the exposition that it gives, comments about type included.
CASES: dict[str, tuple[str, str]] = {
    "shared queries": (
        """
        ---
        # A collector with queries of its own, which stand before the metrics.
        collector_name: shared_queries

        # Similar to global.min_interval, but for this collector only.
        min_interval: 30s

        queries:
          # Runs once, whatever number of metrics refers to it.
          - query_name: _builds
            query: |
              SELECT
                team,

                COUNT(*) AS builds,
                -- the team's time (if any); don't count what's running
                COALESCE(SUM(seconds), 0) AS seconds
              FROM builds
              WHERE team IS NOT NULL /* nobody's; */
              GROUP BY team
              ORDER BY team;
          - query_name: never_used
            query: SELECT 1 FROM no_such_table

        metrics:
          - metric_name: shared_builds_total
            type: counter
            help: 'The team''s builds: all of them (rate(builds)/rate(seconds)).'
            key_labels:
              - team
            values:
              - builds
            query_ref: _builds
          - metric_name: shared_seconds
            type: Gauge
            help: "Time in seconds.\\nBoth lines."
            key_labels: [team]
            values: [seconds]
            query_ref: _builds

        #  - metric_name: later
        #    type: gauge
        """,
        r"""
        # HELP shared_builds_total The team's builds: all of them (rate(builds)/rate(seconds)).
        # TYPE shared_builds_total counter
        shared_builds_total{team="core"} 3.0
        shared_builds_total{team="docs/trash/old \"x\""} 1.0
        # HELP shared_seconds Time in seconds.\nBoth lines.
        # TYPE shared_seconds gauge
        shared_seconds{team="core"} 20.0
        shared_seconds{team="docs/trash/old \"x\""} 2.0
        """,
    ),
    "several values": (
        """
        collector_name: several_values
        metrics:
        - metric_name: several_builds
          type: gauge
          help: 'Builds by kind'
          key_labels:
            - team
          static_labels:
            # Arbitrary pairs; what looks like a number or a truth is text all the same.
            env: dev
            floor: 007
            open: yes
          value_label: kind
          values:
            - fine
            # Comments stand anywhere.
            - failed
          query: |
            select count(*) filter (where state = 'ok') as fine,
                   count(*) filter (where state = 'failed') as failed, team
              from builds
             where team in (
               select team from builds where team <> '' order by id limit 1
             )
             group by team;
        - metric_name: several_one
          type: gauge
          help: One column, and a label with its name all the same
          key_labels:
          value_label: kind
          values: [highest]
          query: select max(id) as highest from builds
        """,
        """
        # HELP several_builds Builds by kind
        # TYPE several_builds gauge
        several_builds{env="dev",floor="007",kind="fine",open="yes",team="core"} 2.0
        several_builds{env="dev",floor="007",kind="failed",open="yes",team="core"} 1.0
        # HELP several_one One column, and a label with its name all the same
        # TYPE several_one gauge
        several_one{kind="highest"} 5.0
        """,
    ),
    "a view with all its columns": (
        """
        collector_name: whole_views
        metrics:
          - metric_name: whole_conflicts
            type: counter
            help: A system view has many columns more
            key_labels: [datname]
            values: [conflicts]
            query: "SELECT * FROM pg_stat_database WHERE datname = 'template0'"
          - &first
            metric_name: whole_builds
            type: gauge
            help: From a view of our own
            key_labels: [scope]
            values: [builds]
            query_ref: summary
          - <<: *first
            metric_name: whole_healthy
            values: [healthy]
        queries:
          - query_name: summary
            query: >-
              SELECT *
              FROM build_summary
        """,
        """
        # HELP whole_conflicts A system view has many columns more
        # TYPE whole_conflicts counter
        whole_conflicts{datname="template0"} 0.0
        # HELP whole_builds From a view of our own
        # TYPE whole_builds gauge
        whole_builds{scope="all"} 5.0
        # HELP whole_healthy From a view of our own
        # TYPE whole_healthy gauge
        whole_healthy{scope="all"} 1.0
        """,
    ),
    "per cent signs and backslashes": (
        r"""
        collector_name: awkward_text
        metrics:
          - metric_name: awkward_like
            type: gauge
            help: 'Names like %X-%X.snap.%d.tmp'
            values: [number]
            query: |
              SELECT
                -- files of the form %X-%X.snap.%d.tmp; %(name)s is no parameter here, nor is $1
                (SELECT COUNT(*) FROM builds WHERE team LIKE '%/trash/%') + 10 % 4 AS number;
          - metric_name: awkward_regex
            type: gauge
            help: "Digits of what it took"
            key_labels: [agent]
            values: [took]
            query: |
              SELECT
                NULLIF(regexp_replace(facts::jsonb ->> 'took', '\D', '', 'g'), '')::numeric
                  - NULLIF(regexp_replace(facts::jsonb->>'took', E'[^0-9\\n]', '', 'g'), '')::int / 2 as took,
                (to_json("facts")::JSONB ->> 0)::JSONB -> 'agent' AS agent
              FROM builds
              where facts::jsonb ->> 'took' not in ('0') AND facts::jsonb ? 'tags' ORDER BY id LIMIT 1
          - metric_name: awkward_dollars
            type: gauge
            help: Quoted by dollars, with a trailing comment
            key_labels: [text]
            static_value: 1
            query: |
              SELECT $$it's; -- $1 100%$$ || $tag$ \d$tag$ AS text; -- the end
              /* really; */
          - metric_name: awkward_backslash
            type: gauge
            help: A backslash that ends a value
            key_labels: [state]
            values: [id]
            query: SELECT state, id FROM builds WHERE state ~ '\\$'
        """,
        r"""
        # HELP awkward_like Names like %X-%X.snap.%d.tmp
        # TYPE awkward_like gauge
        awkward_like 3.0
        # HELP awkward_regex Digits of what it took
        # TYPE awkward_regex gauge
        awkward_regex{agent="\"a 1\""} 6.0
        # HELP awkward_dollars Quoted by dollars, with a trailing comment
        # TYPE awkward_dollars gauge
        awkward_dollars{text="it's; -- $1 100% \\d"} 1.0
        # HELP awkward_backslash A backslash that ends a value
        # TYPE awkward_backslash gauge
        awkward_backslash{state="ok\\"} 5.0
        """,
    ),
    "functions and expressions": (
        """
        collector_name: expressions
        metrics:
          - metric_name: expression_cte
            type: gauge
            help: CTE, lateral join, values and a cast
            key_labels: [duration]
            values: [size]
            query: |
              WITH RECURSIVE steps (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM steps WHERE n < 3)
              SELECT x AS duration, extract('epoch' from x::interval)::int + m.n AS size
              FROM (VALUES ('5m'), ('1h')) AS t (x)
              CROSS JOIN LATERAL (SELECT max(n) AS n FROM steps WHERE t.x <> '') AS m;
          - metric_name: expression_function
            type: gauge
            help: A function that returns a table
            key_labels: [team]
            values: [number]
            query: |
              SELECT * FROM slow_builds(2)
          - metric_name: expression_record
            type: counter
            help: Columns out of JSON
            values: [b]
            query: |
              WITH c AS (SELECT jsonb_object_agg(k, v) jb FROM (VALUES ('a', 1.5), ('b', 2)) AS t (k, v))
              SELECT d.* FROM jsonb_to_record((SELECT jb FROM c)) AS d(a numeric, b numeric);
          - metric_name: expression_setting
            type: gauge
            help: A number as text
            values: [max]
            query: SELECT ' 2 ' AS blank, current_setting('autovacuum_naptime'), '1e3' AS max
          - metric_name: expression_lsn
            type: gauge
            help: Difference of two positions
            values: [lsn]
            query: select ('0/20'::pg_lsn - '0/0')::FLOAT8 as lsn;
          - metric_name: expression_union
            type: gauge
            help: A union in parentheses
            key_labels: [part]
            values: [n]
            query: |
              (SELECT 'a' AS part, 1 AS n) UNION ALL (SELECT 'b', 2) ORDER BY part
          - metric_name: expression_values
            type: gauge
            help: Bare values
            key_labels: [column1]
            values: [column2]
            query: VALUES ('x', 7)
          - metric_name: expression_special
            type: gauge
            help: What is no finite number
            key_labels: [le]
            values: [n]
            query: |
              SELECT * FROM (VALUES ('Infinity'::float8, 'NaN'::float8), (2e-05, '-Infinity')) AS t (le, n)
        """,
        """
        # HELP expression_cte CTE, lateral join, values and a cast
        # TYPE expression_cte gauge
        expression_cte{duration="5m"} 303.0
        expression_cte{duration="1h"} 3603.0
        # HELP expression_function A function that returns a table
        # TYPE expression_function gauge
        expression_function{team="core"} 2.0
        expression_function{team="docs/trash/old \\"x\\""} 1.0
        # HELP expression_record Columns out of JSON
        # TYPE expression_record counter
        expression_record 2.0
        # HELP expression_setting A number as text
        # TYPE expression_setting gauge
        expression_setting 1000.0
        # HELP expression_lsn Difference of two positions
        # TYPE expression_lsn gauge
        expression_lsn 32.0
        # HELP expression_union A union in parentheses
        # TYPE expression_union gauge
        expression_union{part="a"} 1.0
        expression_union{part="b"} 2.0
        # HELP expression_values Bare values
        # TYPE expression_values gauge
        expression_values{column1="x"} 7.0
        # HELP expression_special What is no finite number
        # TYPE expression_special gauge
        expression_special{le="+Inf"} NaN
        expression_special{le="2e-05"} -Inf
        """,
    ),
    "times of their own": (
        """
        collector_name: stamped
        min_interval: 1h
        metrics:
          - metric_name: stamped_seconds
            type: gauge
            help: When it started
            key_labels: [id]
            values: [seconds]
            timestamp_value: startedAt
            query: SELECT id, seconds, "startedAt" FROM builds ORDER BY id
        """,
        """
        # HELP stamped_seconds When it started
        # TYPE stamped_seconds gauge
        stamped_seconds{id="1"} 12.5 1767323045678
        stamped_seconds{id="2"} 7.5 1767326645000
        """,
    ),
    "the output of jsonnet": (
        """
        {
           "collector_name": "rendered",
           "metrics": [
              {
                 "help": "As the template has it",
                 "key_labels": null,
                 "metric_name": "rendered_builds",
                 "query": "select count(*) as total\\n  from builds;\\n",
                 "type": "gauge",
                 "values": [
                    "total"
                 ]
              }
           ],
           "queries": [ ]
        }
        """,
        """
        # HELP rendered_builds As the template has it
        # TYPE rendered_builds gauge
        rendered_builds 5.0
        """,
    ),
    "names, nulls and duplicates": (
        """
        collector_name: names
        metrics:
          - metric_name: "names_nulls"
            type: gauge 
            help: "A label that is null is empty, a value that is null is no sample."
            key_labels: [team, table, Quoted]
            values: [seconds] 
            query: |
              SELECT team, team AS table, state AS "Quoted", min(seconds) AS Seconds
              FROM builds GROUP BY team, state ORDER BY min(id);

          - metric_name: names_twice
            type: gauge
            help: The first of equals
            key_labels: []
            values: [id]
            query: SELECT id FROM builds ORDER BY id DESC
          - metric_name: names_empty
            type: gauge
            help: Nothing
            values: [id]
            query: SELECT id FROM builds WHERE false
        """,
        r"""
        # HELP names_nulls A label that is null is empty, a value that is null is no sample.
        # TYPE names_nulls gauge
        names_nulls{Quoted="ok",table="core",team="core"} 7.5
        names_nulls{Quoted="ok",table="",team=""} 1.0
        names_nulls{Quoted="ok\\",table="docs/trash/old \"x\"",team="docs/trash/old \"x\""} 2.0
        # HELP names_twice The first of equals
        # TYPE names_twice gauge
        names_twice 5.0
        """,
    ),
    "other statements": (
        """
        collector_name: statements
        metrics:
          - metric_name: statements_shown
            type: gauge
            help: SHOW
            values: [max_connections]
            no_prepared_statement: true
            query: |
              SHOW max_connections;
          - metric_name: statements_two
            type: gauge
            help: Two statements in one
            values: [n]
            no_prepared_statement: yes
            query: SET LOCAL enable_seqscan = off; SELECT 3 AS n;
          - metric_name: statements_table
            type: gauge
            help: The short way to a whole view
            key_labels: [scope]
            values: [builds]
            query: TABLE build_summary
        """,
        """
        # HELP statements_shown SHOW
        # TYPE statements_shown gauge
        statements_shown 60.0
        # HELP statements_two Two statements in one
        # TYPE statements_two gauge
        statements_two 3.0
        # HELP statements_table The short way to a whole view
        # TYPE statements_table gauge
        statements_table{scope="all"} 5.0
        """,
    ),
}  # fmt: skip


def _written(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name.replace(' ', '_')}.collector.yml"
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    return str(path)


def _config(folder: Path, dsn: str, files: list[str]) -> str:
    path = folder / "config.yaml"
    databases = {"main": {"dsn": dsn, "files": files}}
    content = {"store": {"url": "sqlite://"}, "collectors": {"postgres": {"databases": databases}}}
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture(scope="module")
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with something in it."""
    postgres_server.sql("CREATE DATABASE query_files")
    url = postgres_server.url.replace("/postgres?", "/query_files?")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)
    yield url
    postgres_server.sql("DROP DATABASE query_files WITH (FORCE)")


@pytest.fixture(scope="module")
def exposition(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the program shows of all files together."""
    folder = tmp_path_factory.mktemp("query-files")
    files = [_written(folder, name, text) for name, (text, _) in CASES.items()]
    done = run_cli("once", "--config", _config(folder, dsn, files))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", CASES)
def test_a_file_gives_exactly_these_series(name: str, exposition: list[str]) -> None:
    expected = textwrap.dedent(CASES[name][1]).strip().splitlines()
    names = {line.split()[2] for line in expected if line.startswith("# TYPE")}
    of_file = {name.split("_")[0] + "_" for name in names}
    found = [
        line
        for line in exposition
        if line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith(tuple(of_file))
    ]
    assert found == expected


def test_duplicates_are_counted(exposition: list[str]) -> None:
    dropped = [line for line in exposition if "dropped" in line and "names_twice" in line]
    assert dropped
    assert dropped[0].endswith(" 4.0")


def test_one_query_that_fails_takes_nothing_else_away(dsn: str, tmp_path: Path) -> None:
    file = _written(
        tmp_path,
        "partly",
        """
        collector_name: partly
        metrics:
          - metric_name: partly_old_column
            type: counter
            help: A column that a newer server does not have
            values: [gone]
            query: |
              SELECT
                /* moved elsewhere */
                gone
              FROM builds;
          - metric_name: partly_no_extension
            type: gauge
            help: An extension that is not installed
            values: [tracked]
            query: SELECT count(*) AS tracked FROM pg_stat_statements
          - metric_name: partly_other_dialect
            type: gauge
            help: MySQL
            values: [n]
            query: SELECT COUNT(*) AS n FROM builds WHERE "startedAt" > NOW() - INTERVAL 24 HOUR
          - metric_name: partly_no_number
            type: gauge
            help: Text
            values: [state]
            query: SELECT state FROM builds WHERE id = 1
          - metric_name: partly_fine
            type: gauge
            help: This one is
            values: [n]
            query: SELECT count(*) AS n FROM builds
        """,
    )
    done = run_cli("once", "--config", _config(tmp_path, dsn, [file]))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("partly_")] == ["partly_fine 5.0"]
    success = 'ci_exporter_query_success{database="main",query="partly_'
    assert {line.removeprefix(success) for line in lines if line.startswith(success)} == {
        'old_column"} 0.0',
        'no_extension"} 0.0',
        'other_dialect"} 0.0',
        'no_number"} 0.0',
        'fine"} 1.0',
    }
    for part in (
        'query partly_old_column: column "gone" does not exist (42703, line 3 of its SQL)',
        'query partly_no_extension: relation "pg_stat_statements" does not exist',
        "query partly_other_dialect: syntax error",
        "'ok' is not a number",
    ):
        assert part in done.stderr.replace('\\"', '"'), part
    assert "Traceback" not in done.stderr


def test_what_sql_exporter_refuses_is_refused_by_line(dsn: str, tmp_path: Path) -> None:
    # A whole configuration, a file of another program's kind, and an apostrophe in quotes.
    whole = _written(
        tmp_path,
        "whole",
        """
        global: {scrape_timeout: 10s}
        target: {data_source_name: 'postgres://u:secret-word@h/d', collectors: [a]}
        collectors:
          - collector_name: a
            metrics: []
        """,
    )
    other = _written(
        tmp_path,
        "other",
        """
        name: jobs
        queries:
          - query: SELECT 1 AS n
            metrics: [{name: n, help: N, type: gauge, values: [n]}]
        """,
    )
    broken = _written(
        tmp_path,
        "broken",
        """
        collector_name: broken
        metrics:
          - metric_name: n
            type: gauge
            help: 'prefetches that don't satisfy'
            values: [n]
            query: SELECT 1 AS n
        """,
    )
    done = run_cli("check", "--online", "--config", _config(tmp_path, dsn, [whole, other, broken]))
    assert done.returncode == 2
    problems = done.stderr.splitlines()
    assert any(f"{whole}:3" in line and "a file of its own" in line for line in problems), done.stderr
    assert any(f"{other}:1" in line and "collector_name" in line for line in problems), done.stderr
    assert any(f"{broken}:5" in line and "not valid YAML" in line for line in problems), done.stderr
    assert "secret-word" not in done.stdout + done.stderr
