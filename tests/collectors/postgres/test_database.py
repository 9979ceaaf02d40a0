"""Snapshots of a real PostgreSQL: what queries give, and what they leave behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from collectors.postgres.database import Database
from collectors.postgres.errors import QueryFailed
from collectors.postgres.snapshot import CHUNK_ROWS, Result
from collectors.postgres.spec import Query
from exporter.errors import Stopped
from tests.support.process import wait_until
from tests.support.querylab import QueryLab

Sql = Callable[[str], list[tuple[object, ...]]]


def ask(database: Database, sql: str, *, simple: bool = False, **parameters: str | None) -> Result:
    query = Query("q", sql, simple=simple, parameters=parameters or None)
    with database.snapshot(statement_timeout=5) as snapshot:
        return snapshot.run(query)


def values(database: Database, sql: str, **parameters: str | None) -> tuple[str | None, ...]:
    return ask(database, sql, **parameters).rows[0]


@pytest.fixture
def sql(postgres_database: str) -> Sql:
    """Another client of the same database."""

    def run(statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(postgres_database, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    return run


# -- values ----------------------------------------------------------------------------------------


def test_every_type_arrives_as_the_servers_own_text(database: Database, sql: Sql) -> None:
    sql("CREATE TYPE mood AS ENUM ('fine'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN age AS int")
    literals = {
        "1.50::numeric": "1.50", "true": "t", "0.1::float8": "0.1", "1e6::float4": "1e+06", "7": "7",
        "'NaN'::float8": "NaN", r"'\xff00'::bytea": r"\xff00", "'{\"a\": 1}'::json": '{"a": 1}',
        "date '2024-01-02'": "2024-01-02", "timestamp '2024-01-02 03:04:05.6'": "2024-01-02 03:04:05.6",
        "timestamptz '2024-07-02 03:04:05+00'": "2024-07-02 05:04:05+02", "interval '26 h'": "26:00:00",
        "'{1,NULL}'::int[]": "{1,NULL}", "'00000000-0000-0000-0000-00000000000a'::uuid":
        "00000000-0000-0000-0000-00000000000a", "'ab'::char(4)": "ab  ", "'10.0.0.1'::inet": "10.0.0.1",
        "'fine'::mood": "fine", "(1, 'x')::pair": "(1,x)", "3::age": "3", "int4range(1, 3)": "[1,3)",
        "NULL": None, "'x'": "x", "1.5::money": "$1.50", "'{t,f}'::bool[]": "{t,f}", "'a'::\"char\"": "a",
        "'Zażółć'": "Zażółć", "'epoch'::timetz": "00:00:00",
    }  # fmt: skip
    literals.pop("'epoch'::timetz")
    query = f"SELECT {', '.join(literals)}"
    expected = tuple(literals.values())
    assert values(database, query) == expected
    assert ask(database, query, simple=True).rows == [expected]
    assert ask(database, f"EXPLAIN {query}").columns[0].name == "QUERY PLAN"


def test_settings_of_the_role_do_not_change_how_values_look(database: Database, sql: Sql) -> None:
    name = sql("SELECT current_database()")[0][0]
    for setting in ("datestyle = 'German'", "bytea_output = 'escape'", "intervalstyle = 'iso_8601'"):
        sql(f"ALTER DATABASE {name} SET {setting}")
    sql(f"ALTER DATABASE {name} SET extra_float_digits = -5")
    found = values(
        database, r"SELECT now()::date > '2020-01-01', date '2024-01-31', '\x41'::bytea, 0.3::float8"
    )
    assert found == ("t", "2024-01-31", r"\x41", "0.3")
    assert values(database, "SELECT interval '1 day', 0.1::float8 + 0.2::float8") == (
        "1 day",
        "0.30000000000000004",
    )


def test_columns_have_their_names_and_types(database: Database) -> None:
    found = ask(database, "SELECT 1 AS \"Größe\", 'a'::text AS b, 2 AS b WHERE false")
    assert [(column.name, column.oid) for column in found.columns] == [("Größe", 23), ("b", 25), ("b", 23)]
    assert found.rows == []
    assert 0 < found.seconds < 5


def test_a_percent_sign_is_one(database: Database) -> None:
    assert values(database, "SELECT '100%', '%s', '%(a)s', '%%', 5 % 3") == ("100%", "%s", "%(a)s", "%%", "2")
    assert ask(database, "SELECT '100%', '%%'", simple=True).rows == [("100%", "%%")]
    assert values(database, "SELECT '100%%', %(a)s::text", a="50%") == ("100%", "50%")


def test_parameters_stay_values(database: Database, sql: Sql) -> None:
    sql("CREATE TABLE jobs (name text, n int); INSERT INTO jobs VALUES ('a', 1), ('b', 2)")
    attempt = "a'; DROP TABLE jobs; --"
    assert ask(database, "SELECT n FROM jobs WHERE name = %(name)s", name=attempt).rows == []
    assert values(database, "SELECT name FROM jobs WHERE n = %(n)s AND name <> %(x)s", n="2", x=attempt) == (
        "b",
    )
    assert values(database, "SELECT %(x)s::text IS NULL", x=None) == ("t",)
    assert ask(database, "SELECT n FROM jobs WHERE name = %(name)s", simple=True, name="b").rows == [("2",)]
    assert values(database, "SHOW server_encoding") == ("UTF8",)


def test_bytes_without_an_encoding_do_no_harm(connect: Callable[..., Database], postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("CREATE DATABASE raw ENCODING 'SQL_ASCII' TEMPLATE template0")
        database = connect(postgres_url.replace("/postgres?", "/raw?"))
        try:
            rows = ask(database, "SELECT 'ż' AS \"ł\", chr(255) || 'x', %(p)s::text", p="ß")
            assert rows.rows == [("ż", "\ufffdx", "ß")]
            assert rows.columns[0].name == "ł"
            assert ask(database, "SELECT chr(255) || 'ż'", simple=True).rows == [("\ufffdż",)]
            with database.snapshot(statement_timeout=5) as snapshot:
                assert snapshot.run(Query("żółw", "SELECT 1")).rows == [("1",)]
        finally:
            database.close()
            other.execute("DROP DATABASE raw WITH (FORCE)")


# -- statements ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["50 % of %s", "%(p)s", 'a "b" \\', "x" * 80, "two\nlines", "żółw", ""])
def test_a_query_may_have_any_name(database: Database, name: str) -> None:
    query = Query(name, "SELECT %(p)s::text || '%%'", parameters={"p": "1"})
    with database.snapshot(statement_timeout=5) as snapshot:
        assert snapshot.run(query).rows == [("1%",)]
        with pytest.raises(QueryFailed, match=r"line 2 of its SQL"):
            snapshot.run(Query(name, "SELECT\nnothing"))


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1", " \n-- a; comment\n/* /* SELECT */ */ select 1;", "((SELECT 1))",
     "WITH a AS (SELECT 1) TABLE a", "VALUES (1)", "table one", "SELECT 1 -- the end"],
)  # fmt: skip
def test_queries_go_through_a_cursor_of_the_server(
    database: Database, sql: str, postgres_database: str
) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as other:
        other.execute("CREATE TABLE one AS SELECT 1")
    with database.snapshot(statement_timeout=5) as snapshot:
        assert snapshot.run(Query("q", sql)).rows == [("1",)]
        cursors = snapshot.run(Query("q", "SELECT name, statement FROM pg_cursors")).rows
    assert [name for name, _ in cursors] == ["q"], "the DBA sees which query it is"
    assert "DECLARE" in str(cursors[0][1])


def test_other_statements_do_without(database: Database) -> None:
    assert values(database, "SHOW transaction_isolation") == ("repeatable read",)
    assert values(database, "EXPLAIN (COSTS OFF) SELECT 1") == ("Result",)
    assert "name" not in values(database, "SHOW cursor_tuple_fraction")


def test_many_rows_come_in_chunks_and_in_time(database: Database) -> None:
    began = time.monotonic()
    found = ask(database, "SELECT n, 'job ' || n, n / 7.0 FROM generate_series(1, 100000) n")
    assert len(found.rows) == 100_000
    assert found.rows[-1][:2] == ("100000", "job 100000")
    assert time.monotonic() - began < 30
    full = ask(database, f"SELECT n FROM generate_series(1, {CHUNK_ROWS}) n")
    assert len(full.rows) == CHUNK_ROWS


def test_rows_can_be_limited(database: Database) -> None:
    with database.snapshot(statement_timeout=5) as snapshot:
        for sql in (
            "SELECT generate_series(1, 1000000000)",
            "EXPLAIN SELECT 1 UNION SELECT 2 UNION SELECT 3",
        ):
            assert len(snapshot.run(Query("q", sql), limit_rows=2).rows) == 2
        assert snapshot.run(Query("q", "SELECT 1"), limit_rows=0).rows == []
        simple = Query("q", "SELECT generate_series(1, 5)", simple=True)
        assert len(snapshot.run(simple, limit_rows=3).rows) == 3


def test_the_simple_protocol_takes_several_statements_and_the_first_result(database: Database) -> None:
    assert ask(database, "SELECT 1 AS v; SELECT 2 AS v", simple=True).rows == [("1",)]
    assert ask(database, "SET LOCAL work_mem = '5MB'; SHOW work_mem", simple=True).rows == [("5MB",)]
    for sql in ("SELECT 1 AS v; SELECT 2 AS v", "SHOW work_mem; SHOW work_mem"):
        with pytest.raises(QueryFailed, match=r"query q: cannot insert multiple commands.*\(42601"):
            ask(database, sql)


@pytest.mark.parametrize("simple", [False, True])
@pytest.mark.parametrize("sql", ["SET LOCAL work_mem = '5MB'", "", "-- nothing", "/* nothing", ";"])
def test_a_statement_without_a_result_is_told(database: Database, sql: str, simple: bool) -> None:
    with pytest.raises(QueryFailed, match=r"query q: (its SQL returns no rows|unterminated)"):
        ask(database, sql, simple=simple)


# -- the transaction -------------------------------------------------------------------------------


def test_a_snapshot_stands_still(database: Database, sql: Sql) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS n")
    count = Query("q", "SELECT count(*) FROM t")
    with database.snapshot(statement_timeout=5) as snapshot:
        before = snapshot.run(count).rows
        sql("INSERT INTO t VALUES (2)")
        assert snapshot.run(count).rows == before == [("1",)]
    with database.snapshot(statement_timeout=5) as snapshot:
        assert snapshot.run(count).rows == [("2",)]


def test_a_table_may_change_between_snapshots(database: Database, sql: Sql) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS n")
    for _ in range(8):  # a driver would prepare it by now
        assert len(ask(database, "SELECT * FROM t").columns) == 1
    sql("ALTER TABLE t ADD m text; ALTER TABLE t ALTER n TYPE numeric")
    assert [column.oid for column in ask(database, "SELECT * FROM t").columns] == [1700, 25]
    assert values(database, "SELECT count(*) FROM pg_prepared_statements") == ("0",)


def test_settings_end_with_the_transaction(database: Database, sql: Sql) -> None:
    shown = "SELECT name, setting FROM pg_settings WHERE name IN ('TimeZone', 'statement_timeout', " \
            "'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_read_only')"  # fmt: skip
    inside = {str(name): value for name, value in ask(database, shown).rows}
    assert inside == {
        "TimeZone": "Europe/Warsaw", "statement_timeout": "5000", "lock_timeout": "4500",
        "idle_in_transaction_session_timeout": "60000", "transaction_read_only": "on",
    }  # fmt: skip
    # What pgbouncer in transaction mode would hand to the next client: nothing of ours.
    outside = database._pool.getconn()
    try:
        rows = {str(name): value for name, value in outside.execute(shown.encode()).fetchall()}
    finally:
        database._pool.putconn(outside)
    assert rows["TimeZone"] != "Europe/Warsaw"
    assert (rows["statement_timeout"], rows["transaction_read_only"]) == ("0", "off")


@pytest.mark.parametrize(("name", "hours"), [("Asia/Tokyo", 9), ("asia/tokyo", 9), (None, 0)])
def test_times_without_a_zone_are_in_that_of_the_session(
    tmp_path: Path, postgres_database: str, name: str | None, hours: int
) -> None:
    dsn = postgres_database + (f"&timezone={quote(name)}" if name else "")
    lab = QueryLab(tmp_path, dsn)
    lab.metric("m", "SELECT timestamp '2026-03-02 12:00' AS v")
    try:
        lab.poll()
        assert lab.value("m") == datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp() - hours * 3600
    finally:
        lab.close()


def test_what_the_dsn_sets_beats_ours(connect: Callable[..., Database], postgres_database: str) -> None:
    database = connect(
        postgres_database + "&statement_timeout=300&timezone=Asia/Tokyo&application_name=c%20i&work_mem=5MB"
        "&ci.note=a%20b%5Cc"
    )
    names = ("TimeZone", "statement_timeout", "application_name", "work_mem", "ci.note")
    found = values(database, "SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
    assert found == ("Asia/Tokyo", "300ms", "c i", "5MB", r"a b\c")
    with pytest.raises(QueryFailed, match=r"longer than the 0.3 s it is allowed"):
        ask(database, "SELECT pg_sleep(5)")


def test_who_we_are_is_shown(database: Database) -> None:
    asked = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    assert values(database, asked) == ("ci-exporter",)


def test_making_one_does_not_connect(connect: Callable[..., Database]) -> None:
    before = set(threading.enumerate())
    connect("postgresql://nowhere.invalid/ci").close()
    assert set(threading.enumerate()) == before
    with pytest.raises(ValueError, match="DSN"):
        connect("postgresql://u:p%4@h/d")


def test_connections_are_kept_and_not_more_than_allowed(
    connect: Callable[..., Database], postgres_database: str, sql: Sql
) -> None:
    database = connect(postgres_database, max_connections=2)
    failed: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(10):
                ask(database, "SELECT pg_sleep(0.01)")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ci-exporter' " \
            "AND datname = current_database()"  # fmt: skip
    assert sql(asked)[0][0] in (1, 2)
    pids = {values(database, "SELECT pg_backend_pid()") for _ in range(6)}
    assert len(pids) <= 2


def test_closing_ends_every_thread_and_connection(database: Database, sql: Sql, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    ask(database, "SELECT 1")
    database.close()
    database.close()
    with pytest.raises(Stopped):
        ask(database, "SELECT 1")
    assert set(threading.enumerate()) <= before
    asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ci-exporter' " \
            "AND datname = current_database()"  # fmt: skip
    wait_until(lambda: sql(asked)[0][0] == 0, "the server sees no connection of ours")
