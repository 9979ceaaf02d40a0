"""What goes wrong with databases: told in a sentence, survived, and never waited for without end."""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from collectors.postgres import snapshot as snapshot_module
from collectors.postgres.database import Database
from collectors.postgres.errors import ConnectionLost, QueryFailed, Unreachable
from collectors.postgres.spec import Query
from exporter.errors import SourceError, Stopped
from tests.support.postgres import PostgresServer, TlsDoor
from tests.support.process import PATIENCE, free_port, wait_until
from tests.support.querylab import QueryLab

Connect = Callable[..., Database]

ONE = Query("one", "SELECT 1")
BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ci-exporter'"


def rows(database: Database, sql: str = "SELECT 1", *, timeout: float = 5) -> list[tuple[str | None, ...]]:
    with database.snapshot(statement_timeout=timeout) as snapshot:
        return snapshot.run(Query("q", sql)).rows


@contextmanager
def takes(least: float, most: float) -> Iterator[None]:
    """*most* is for a busy machine: much more than it takes, much less than it would without the limit."""
    began = time.monotonic()
    yield
    assert least <= time.monotonic() - began <= most


@pytest.fixture(scope="module")
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """One to stop, freeze and change; tests leave it running."""
    made = PostgresServer(
        tcp=True,
        programs=postgres_server.programs,
        settings={"max_connections": "20"},
        rules="host all locked 127.0.0.1/32 scram-sha-256\nhost all banned 127.0.0.1/32 reject\n",
    )
    for role in ("locked", "banned", "guest"):
        made.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'rightword'")
    made.sql("CREATE TABLE open_jobs AS SELECT 1 AS n; GRANT SELECT ON open_jobs TO guest")
    made.sql("CREATE TABLE secret_jobs AS SELECT 1 AS n")
    yield made
    made.remove()


def failing(database: Database, *queries: Query) -> list[str]:
    """The sentences of *queries*, each of which fails; the snapshot works to its end."""
    sentences = []
    with database.snapshot(statement_timeout=5) as snapshot:
        for query in queries:
            with pytest.raises(QueryFailed) as caught:
                snapshot.run(query)
            assert caught.value.__cause__ is caught.value.__context__ is None
            sentences.append(str(caught.value))
            assert snapshot.run(ONE).rows == [("1",)], query
    assert all(sentence.startswith("database main, query q: ") for sentence in sentences)
    return sentences


def told(database: Database, *sqls: str) -> list[str]:
    return failing(database, *(Query("q", sql) for sql in sqls))


# -- connecting ------------------------------------------------------------------------------------


def unreachable(database: Database) -> str:
    with pytest.raises(Unreachable) as caught:
        rows(database)
    text = "".join(traceback.format_exception(caught.value))
    assert "wrongword" not in text
    assert "rightword" not in text
    assert isinstance(caught.value, SourceError)
    return str(caught.value)


def test_the_reason_for_having_no_connection_is_told(
    connect: Connect, server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    closed = free_port()
    at = f"127.0.0.1:{server.port}"
    reasons = {
        f"postgresql://locked:wrongword@{at}/postgres": "password authentication failed.*check the user and",
        f"postgresql://locked@{at}/postgres": "no password supplied.*has no password",
        f"postgresql://banned:rightword@{at}/postgres": r"pg_hba\.conf rejects.*does not let this user in",
        f"postgresql://guest@{at}/nope": 'database "nope" does not exist; check the database',
        f"postgresql://nobody@{at}/postgres": 'role "nobody" does not exist; check the user',
        f"postgresql://guest@127.0.0.1:{closed}/postgres": "Connection refused; is the server running",
        "postgresql://guest@nowhere.invalid/postgres": "resolve host 'nowhere.invalid'.*check the host",
        "postgresql://guest@/tmp/no-such-folder/postgres": "No such file or directory; is the server running",
        f"postgresql://guest:rightword@{at}/postgres?sslmode=require": "does not support SSL.*check its keys",
        f"postgresql://guest@{at}/postgres?no_such_setting=rightword": "unrecognized configuration parameter",
        f"postgresql://guest@{at}/postgres?work_mem=rightword": 'invalid value for parameter "work_mem"$',
    }
    for dsn, reason in reasons.items():
        database = connect(dsn, connect_timeout=120)
        with takes(0, 30):
            found = unreachable(database)
        assert found.startswith("database main cannot be reached: ")
        with pytest.raises(Unreachable, match=reason):
            raise Unreachable(found)
    assert not caplog.records


def test_a_zone_that_the_server_does_not_know(server: PostgresServer, connect: Connect) -> None:
    database = connect(server.url)
    database.zone = "Mars/Olympus"
    assert 'invalid value for parameter "TimeZone"' in unreachable(database)


def test_a_password_and_a_certificate_that_are_right(
    server: PostgresServer, connect: Connect, stopping: threading.Event, tmp_path: Path
) -> None:
    door = TlsDoor(server, tmp_path)
    try:
        tls = {"mode": "verify-full", "ca_file": door.certificate}
        dsn = f"postgresql://locked:rightword@127.0.0.1:{door.port}/postgres"
        assert "certificate" in unreachable(connect(dsn.replace("127.0.0.1", "localhost"), tls=tls))
        assert "certificate" in unreachable(connect(f"{dsn}?sslmode=verify-full&sslrootcert=system"))
        before = door.clients
        database = connect(dsn, tls=tls)
        with database.snapshot(statement_timeout=60) as snapshot:
            assert len(snapshot.run(Query("q", "SELECT generate_series(1, 20000)")).rows) == 20_000
            stop = threading.Timer(0.2, stopping.set)
            stop.start()
            with takes(0, 30), pytest.raises(Stopped):
                snapshot.run(Query("q", "SELECT pg_sleep(60)"))
        assert door.clients == before + 2, "a connection, and the cancellation"
        stop.join()
    finally:
        door.close()


def test_a_server_without_room(server: PostgresServer, connect: Connect) -> None:
    server.sql("ALTER ROLE guest CONNECTION LIMIT 1")
    database = connect(server.tcp_url.replace("postgres@", "guest@"), connect_timeout=1)
    try:
        with psycopg.connect(server.tcp_url, user="guest"):
            assert "too many connections for role" in unreachable(database)
        server.wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'guest'")
        # Our own connection may come back, so it is waited for: but not for ever.
        with database.snapshot(statement_timeout=5), takes(2.5, 30):
            assert "too many connections for role" in unreachable(database)
        assert rows(database) == [("1",)]
    finally:
        server.sql("ALTER ROLE guest CONNECTION LIMIT -1")


def test_when_all_connections_are_busy(connect: Connect, postgres_database: str) -> None:
    database = connect(postgres_database, max_connections=1, connect_timeout=1)
    with database.snapshot(statement_timeout=5), takes(2, 30):
        assert "all 1 connections are busy" in unreachable(database)
    assert rows(database) == [("1",)]


# -- queries ---------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_query_is_told_with_its_line(server: PostgresServer, connect: Connect) -> None:
    database = connect(server.tcp_url.replace("postgres@", "guest@"))
    found = told(
        database,
        "SELECT n\nFROM open_jobs\nWHERE AND n = 1",
        "SELECT n,\n  m FROM open_jobs",
        "SELECT 1 FROM nowhere",
        "SELECT n FROM secret_jobs",
        "SELECT nothing(\n1)",
        "SELECT 1 / (n - 1) FROM open_jobs",
        "WITH a AS (INSERT INTO open_jobs VALUES (2) RETURNING n) SELECT n FROM a",
        "EXPLAIN ANALYZE UPDATE open_jobs SET n = 2",
        "SELECT n INTO copied FROM open_jobs",
        "SELECT 'hunter2'::int",
        "SELECT (n || 'hunter2')::int FROM open_jobs",
        "SELECT to_timestamp('hunter2', 'YYYY')",
        "SHOW nothing",
    )
    parts = [
        ('syntax error at or near "AND" (42601, line 3 of its SQL)',),
        ('column "m" does not exist (42703, line 2 of its SQL)', "check the column"),
        ('relation "nowhere" does not exist (42P01, line 1 of its SQL)', "create it"),
        ("permission denied for table secret_jobs (42501)", "grant it", "SELECT on tables"),
        ("function nothing(integer) does not exist (42883, line 1 of its SQL)", "extension"),
        ("division by zero (22012)",),
        ("its WITH changes data", "may only read"),
        ("cannot execute UPDATE in a read-only transaction (25006)", "may only read"),
        ("INTO",),
        ("invalid input syntax for type integer (22P02",),
        ("invalid input syntax for type integer (22P02",),
        ("(22007)",),
        ("unrecognized configuration parameter",),
    ]
    for sentence, expected in zip(found, parts, strict=True):
        assert all(part in sentence for part in expected), sentence
        assert "hunter2" not in sentence
        assert "\n" not in sentence


def test_lines_are_those_of_the_text_with_parameters_and_of_several_statements(database: Database) -> None:
    sql = "SELECT %(long_name)s::text,\n  '%%%%', %(other_name)s::int, %(long_name)s::text,\n  nothing"
    both = {"long_name": "a", "other_name": "1"}
    (bound,) = failing(database, Query("q", sql, parameters=both))
    assert "line 3 of its SQL" in bound
    (simple,) = failing(database, Query("q", "SELECT 1;\nSELECT 2;\nSELECT nothing", simple=True))
    assert "line 3 of its SQL" in simple
    (missing,) = failing(database, Query("q", sql, parameters={"long_name": "a"}))
    assert "other_name" in missing
    (untyped,) = failing(database, Query("q", "SELECT nothing(%(a)s)", parameters={"a": "hunter2"}))
    assert "hunter2" not in untyped


def test_what_functions_say_is_left_to_the_servers_log(database: Database) -> None:
    (sentence,) = failing(
        database, Query("q", "DO $$ BEGIN RAISE 'row of %', 'hunter2'; END $$", simple=True)
    )
    assert sentence.endswith("the server's log has the text (P0001)")


@pytest.mark.parametrize(
    "sql", ["COPY (SELECT 1) TO STDOUT", "COMMIT; SELECT 1", "ROLLBACK", "COMMIT; BEGIN"]
)
def test_a_statement_that_ruins_the_transaction_costs_this_snapshot(database: Database, sql: str) -> None:
    with database.snapshot(statement_timeout=5) as snapshot:
        with pytest.raises(QueryFailed, match="query q: "):
            snapshot.run(Query("q", sql, simple=True))
        with pytest.raises(ConnectionLost, match="after an earlier query"):
            snapshot.run(ONE)
    assert rows(database, "SHOW transaction_read_only") == [("on",)]


def test_the_server_ends_what_takes_too_long(database: Database, postgres_database: str) -> None:
    with database.snapshot(statement_timeout=0.9) as snapshot:  # which is enough for the last one
        for query in (Query("q", "SELECT pg_sleep(90)"), Query("q", "SELECT pg_sleep(90)", simple=True)):
            with takes(0.9, 30), pytest.raises(QueryFailed, match=r"0\.9 s it is allowed.*statement_timeout"):
                snapshot.run(query)
        assert snapshot.run(ONE).rows == [("1",)]
    with psycopg.connect(postgres_database) as other:
        other.execute("CREATE TABLE held AS SELECT 1")
        other.commit()
        other.execute("LOCK TABLE held")
        with takes(0.4, 30), pytest.raises(QueryFailed, match=r"lock timeout \(55P03.*another session"):
            rows(database, "SELECT * FROM held", timeout=0.5)


def test_the_client_ends_what_the_server_does_not(
    connect: Connect, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_module, "GRACE_SECONDS", 0.5)
    database = connect(postgres_database + "&statement_timeout=0")
    with database.snapshot(statement_timeout=0.2) as snapshot:
        with takes(0.7, 30), pytest.raises(QueryFailed, match=r"0\.2 s it is allowed"):
            snapshot.run(Query("q", "SELECT pg_sleep(60)"))
        with pytest.raises(ConnectionLost):
            snapshot.run(ONE)
    assert rows(database) == [("1",)]


def test_someone_else_may_cancel_a_query(database: Database, postgres_server: PostgresServer) -> None:
    cancel = threading.Thread(
        target=postgres_server.wait_for,
        args=("SELECT bool_or(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'FETCH%'"
              " AND wait_event = 'PgSleep'",),
    )  # fmt: skip
    cancel.start()
    with takes(0, 60), pytest.raises(QueryFailed, match="cancelled by someone else"):
        rows(database, "SELECT pg_sleep(90)", timeout=90)
    cancel.join()


def test_failing_leaves_nothing_behind(database: Database, postgres_server: PostgresServer) -> None:
    before = threading.active_count()
    for _ in range(50):
        with pytest.raises(QueryFailed):
            rows(database, "SELECT 1 / 0")
        with pytest.raises(ZeroDivisionError), database.snapshot(statement_timeout=5):
            raise ZeroDivisionError
    ((name,),) = rows(database, "SELECT current_database()")
    assert postgres_server.sql(f"{BACKENDS} AND datname = '{name}'") == [(1,)]
    assert postgres_server.sql(f"{BACKENDS} AND state LIKE 'idle in%' AND datname = '{name}'") == [(0,)]
    assert threading.active_count() <= before + 2  # the pool's


# -- servers that go, hang and come back -----------------------------------------------------------


def test_a_connection_that_breaks_is_told(server: PostgresServer, connect: Connect) -> None:
    database = connect(server.tcp_url)
    with database.snapshot(statement_timeout=30) as snapshot:
        (pid,) = snapshot.run(Query("q", "SELECT pg_backend_pid()")).rows[0]
        server.sql(f"SELECT pg_terminate_backend({pid})")
        with pytest.raises(
            ConnectionLost, match=r"query one: the connection was lost: terminating.*\(57P01\)"
        ):
            snapshot.run(ONE)
        with pytest.raises(ConnectionLost):
            snapshot.run(ONE)
    assert rows(database) == [("1",)]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_is_not_noticed_afterwards(server: PostgresServer, connect: Connect, mode: str) -> None:
    database = connect(server.tcp_url, max_connections=3)
    barrier = threading.Barrier(3)

    def use() -> None:
        with database.snapshot(statement_timeout=5) as snapshot:
            barrier.wait(PATIENCE)
            snapshot.run(ONE)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.restart(mode)
    with takes(0, 30):
        assert rows(database) == [("1",)]
    assert server.sql(BACKENDS)[0][0] <= 3


def test_a_restart_under_load(server: PostgresServer, connect: Connect) -> None:
    database = connect(server.tcp_url)
    ended = threading.Event()
    good, bad, bugs = [0], [0], []

    def work() -> None:
        while not ended.is_set():
            try:
                rows(database, "SELECT pg_sleep(0.005)")
                good[0] += 1
            except (Unreachable, ConnectionLost):
                bad[0] += 1
                ended.wait(0.02)
            except BaseException as error:
                bugs.append(error)
                raise

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: good[0] > 20, "rows before")
    server.restart()
    server.restart("immediate")
    before = good[0]
    wait_until(lambda: good[0] > before + 20, "rows again")
    ended.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not bugs
    assert bad[0]
    assert server.sql(BACKENDS)[0][0] <= 4


def test_a_server_that_was_down_is_used_at_once_when_it_is_back(
    server: PostgresServer, connect: Connect
) -> None:
    database = connect(server.tcp_url, connect_timeout=120)
    assert rows(database) == [("1",)]
    server.stop()
    for _ in range(3):
        with takes(0, 30):
            assert "Connection refused" in unreachable(database)
    server.start()
    with takes(0, 30):
        assert rows(database) == [("1",)]


def test_a_server_that_hangs_is_given_up_near_the_deadline(
    server: PostgresServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_module, "GRACE_SECONDS", 0.5)
    database = connect(server.tcp_url, connect_timeout=2)
    before = threading.active_count()

    def freeze() -> None:
        server.wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        server.pause()

    freezer = threading.Thread(target=freeze)
    with database.snapshot(statement_timeout=6) as snapshot:  # by then it must be frozen
        freezer.start()
        try:
            with takes(6.5, 45), pytest.raises(ConnectionLost, match="query q: the server gave no answer"):
                snapshot.run(Query("q", "SELECT pg_sleep(60)"))
            freezer.join()
            with pytest.raises(ConnectionLost):
                snapshot.run(ONE)
        except BaseException:
            server.resume()
            raise
    try:
        with takes(1.5, 30):
            assert "timeout" in unreachable(database)
        with takes(0, 30):
            database.close()
        wait_until(lambda: threading.active_count() <= before, "the end of the threads")
    finally:
        server.resume()


def test_a_server_that_hangs_while_its_connection_is_idle(server: PostgresServer, connect: Connect) -> None:
    database = connect(server.tcp_url, connect_timeout=3)
    assert rows(database) == [("1",)]
    server.pause()
    try:
        with takes(3, 30), pytest.raises(Unreachable, match="gave no answer"):
            rows(database)
    finally:
        server.resume()
    assert rows(database) == [("1",)]


def test_stopping_ends_a_query_here_and_on_the_server(
    server: PostgresServer, connect: Connect, stopping: threading.Event
) -> None:
    database = connect(server.tcp_url)
    stop = threading.Timer(0.5, stopping.set)
    with database.snapshot(statement_timeout=60) as snapshot:
        snapshot.run(ONE)
        stop.start()
        with takes(0, 30), pytest.raises(Stopped):
            snapshot.run(Query("q", "SELECT pg_sleep(60)"))
        with pytest.raises(Stopped):
            snapshot.run(ONE)
    server.wait_for(BACKENDS.replace("count(*)", "count(*) = 0"), seconds=25)
    with pytest.raises(Stopped):
        rows(database)


def test_stopping_ends_waiting_for_a_server_that_hangs(
    server: PostgresServer, connect: Connect, stopping: threading.Event
) -> None:
    database = connect(server.tcp_url, connect_timeout=120)
    server.pause()
    stop = threading.Timer(0.2, stopping.set)
    stop.start()
    try:
        with takes(0, 30), pytest.raises(Stopped):
            rows(database)
        with takes(0, 30):
            database.close()
    finally:
        server.resume()
    stop.join()


def test_many_servers_that_hang_are_left_together(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as mute:
        dsn = f"postgresql://u:p@127.0.0.1:{mute.getsockname()[1]}/d"
        lab = QueryLab(tmp_path, dsn)
        files = [str(lab.metric("m", "SELECT 1 AS v"))]
        names = [f"d{number}" for number in range(12)]
        lab.block["databases"] = {
            name: {"dsn": dsn, "files": files, "connect_timeout": 120} for name in names
        }
        visits = [
            threading.Thread(target=lab.rounds.visit, args=(state,), daemon=True)
            for state in lab.rounds.states()
        ]
        for visit in visits:
            visit.start()
        accepted = [mute.accept()[0] for _ in visits]
        lab.parts.stopping.set()
        for visit in visits:
            visit.join(PATIENCE)
            assert not visit.is_alive()
        with takes(0, 30):
            lab.close()
        for connection in accepted:
            connection.close()


def test_a_replica_gives_the_same_and_may_be_promoted(
    postgres_server: PostgresServer, server: PostgresServer, connect: Connect
) -> None:
    replica = PostgresServer(
        tcp=True, programs=postgres_server.programs, replica_of=server,
        settings={"max_connections": "20", "max_standby_streaming_delay": "100ms"},
    )  # fmt: skip
    try:
        database = connect(replica.tcp_url)
        assert rows(database, "SELECT pg_is_in_recovery(), (SELECT n FROM open_jobs)") == [("t", "1")]
        server.sql("CREATE TABLE busy AS SELECT generate_series(1, 1000) AS n")
        replica.wait_for("SELECT to_regclass('busy') IS NOT NULL")
        with database.snapshot(statement_timeout=90) as snapshot:
            snapshot.run(Query("q", "SELECT count(*) FROM busy"))
            server.sql("DROP TABLE busy")
            with takes(0, 60), pytest.raises((QueryFailed, ConnectionLost), match="conflict with recovery"):
                snapshot.run(Query("q", "SELECT count(*), pg_sleep(80) FROM busy"))
        replica.promote()
        assert rows(database, "SELECT pg_is_in_recovery(), (SELECT n FROM open_jobs)") == [("f", "1")]
    finally:
        replica.remove()


def test_a_password_that_was_changed_is_read_from_its_file(
    connect: Connect, server: PostgresServer, tmp_path: Path
) -> None:
    dsn = f"postgresql://locked:{{}}@127.0.0.1:{server.port}/postgres"
    file = tmp_path / "dsn"
    file.write_text(dsn.format("rightword"))
    database = connect(dsn.format("rightword"), dsn_file=file)
    assert rows(database) == [("1",)]
    server.sql("ALTER ROLE locked PASSWORD 'newword'")
    try:
        server.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'locked'")
        assert "password authentication failed" in unreachable(database)
        file.write_text("")  # in the middle of being written
        assert "password authentication failed" in unreachable(database)
        file.write_text(dsn.format("newword"))
        assert rows(database) == [("1",)]
    finally:
        server.sql("ALTER ROLE locked PASSWORD 'rightword'")
