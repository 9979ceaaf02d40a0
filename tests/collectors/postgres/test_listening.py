"""Runs that databases ask for by NOTIFY: the collector in the real engine, on real servers."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from collectors.postgres.collector import Postgres
from collectors.postgres.database import Database
from collectors.postgres.listening import Bell
from exporter.clock import SystemClock
from exporter.contract import Batch, Context, Discovery, Position, Unit
from exporter.exposition import Exposition
from exporter.rendering import Format
from exporter.rounds.round import CollectorRounds
from exporter.rounds.scheduler import Engine
from exporter.selfmetrics import SelfMetrics
from exporter.store.sql import SqlStore
from tests.support.postgres import PostgresServer
from tests.support.process import PATIENCE, free_port, wait_until
from tests.support.stores import ready_store

LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ci-exporter (listen)'"


class Watched(Postgres):
    """Notes when which file runs."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.runs: list[tuple[str, float]] = []
        self.keys: set[str] = set()

    def discover(self) -> Discovery:
        found = super().discover()
        self.keys = {unit.key for unit in found.units}
        return found

    def poll(self, unit: Unit, position: Position) -> Batch:
        self.runs.append((unit.key, time.monotonic()))
        return super().poll(unit, position)


class Service:
    """The collector in an engine of its own, with query files in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopping = threading.Event()
        self.clock = SystemClock()
        self.metrics = SelfMetrics("0")
        self.exposition = Exposition()
        self.store = SqlStore(ready_store(folder))
        self.engine = Engine(
            self.store,
            self.metrics,
            self.clock,
            capacity=2,
            retention_days=400,
            dead_letter_days=400,
            stopping=self.stopping,
        )
        self.collectors: list[Watched] = []
        self.woken: list[str] = []

    def file(self, name: str, channel: str, *, debounce: str = "100ms", sql: str = "SELECT 1 AS n") -> Path:
        path = self.folder / f"{name}.collector.yml"
        path.write_text(
            f"collector_name: {name}\nmin_interval: 1h\n"
            f"ci_exporter: {{listen: '{channel}', debounce: {debounce}}}\n"
            f"metrics:\n- {{metric_name: {name}, type: gauge, help: h, values: [n], query: '{sql}'}}\n"
        )
        return path

    def collector(self, dsn: str, *files: Path, rehearsal: bool = False, **database: Any) -> Watched:
        block = {"databases": {"main": {"dsn": dsn, "files": list(files), **database}}}
        page = self.exposition.page("postgres", ())
        context = Context(
            page=page,
            clock=self.clock,
            api=self.metrics.observer("postgres"),
            stopping=self.stopping,
            wake=self._wake,
            rehearsal=rehearsal,
        )
        made = Watched(Postgres.config_model.model_validate(block), context)
        self.collectors.append(made)
        return made

    def _wake(self, key: str) -> None:
        self.engine.wake("postgres", key)
        self.woken.append(key)

    def idle(self) -> bool:
        """Whether no file runs, and none waits for its turn."""
        before = sum(len(collector.runs) for collector in self.collectors)
        agendas = self.engine._agendas()
        quiet = all(agenda.wait_idle(lambda key: True, 0) and not len(agenda) for agenda in agendas)
        return quiet and before == sum(len(collector.runs) for collector in self.collectors)

    def settle(self, collector: Watched, sql: Callable[[str], Any]) -> None:
        """Wait until *collector* listens, and the runs that its start brings are over."""
        wait_until(lambda: sql(f"{LISTENING} AND datname = current_database()") == 1, "it listens")
        # It asks for a run of each file when it begins to listen.
        wait_until(lambda: collector.keys <= set(self.woken), "it asked for runs")
        wait_until(lambda: collector.keys <= {key for key, _ in collector.runs}, "the first runs")
        wait_until(self.idle, "their end")
        self.woken.clear()

    def rounds(self, collector: Watched) -> CollectorRounds:
        page = self.exposition.page("postgres", ())
        page.declare(collector.declared)
        return CollectorRounds(collector, page, self.store, self.metrics, self.clock)

    def start(self, collector: Watched) -> Watched:
        self.exposition.show(["postgres"])
        self.engine.adopt([self.rounds(collector)])
        self.engine.start()
        return collector

    def line(self, name: str) -> str | None:
        """The sample of the metric *name*."""
        text = b"".join(self.exposition.gather(Format.TEXT, gzip=False).pieces).decode()
        return next((line for line in text.splitlines() if line.split(" ")[0] == name), None)

    def close_collectors(self) -> None:
        self.engine.stop(5)
        for collector in self.collectors:
            collector.close()

    def close(self) -> None:
        self.close_collectors()
        self.store.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.close()


@pytest.fixture
def sql(postgres_database: str) -> Iterator[Callable[[str], Any]]:
    """Another client of the same database."""
    with psycopg.connect(postgres_database, autocommit=True) as connection:

        def run(statement: str) -> Any:
            cursor = connection.execute(statement.encode())
            return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]

        run(
            "CREATE TABLE t AS SELECT 0 AS n;"
            "CREATE FUNCTION backend() RETURNS int LANGUAGE sql AS 'SELECT pg_backend_pid()'"
        )
        yield run


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a listener tried to connect."""
    found: list[float] = []
    connect = Database.connect

    def noted(database: Database, *, purpose: str) -> Any:
        found.append(time.monotonic())
        return connect(database, purpose=purpose)

    monkeypatch.setattr(Database, "connect", noted)
    return found


def listeners() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("postgres-listen")]


def keys(collector: Watched, since: int = 0) -> list[str]:
    return [key for key, _ in collector.runs[since:]]


# -- notifications -----------------------------------------------------------------------------------


def test_a_notification_runs_the_file_at_once(
    service: Service, postgres_database: str, sql: Callable[[str], Any]
) -> None:
    file = service.file("a", 'Odd "channel"; --', sql="SELECT n FROM t")
    collector = service.start(service.collector(postgres_database, file))
    service.settle(collector, sql)
    assert service.line("a") == "a 0.0"
    assert len(collector.runs) <= 2, "the first one, and perhaps one since listening began only then"
    sql("UPDATE t SET n = 7")
    sql('NOTIFY "Odd ""channel""; --"')
    wait_until(lambda: service.line("a") == "a 7.0", "the run")


def test_a_storm_is_debounced_and_its_last_notification_is_heard(
    service: Service, postgres_database: str, sql: Callable[[str], Any]
) -> None:
    file = service.file("a", "c", debounce="500ms", sql="SELECT n FROM t")
    collector = service.start(service.collector(postgres_database, file))
    service.settle(collector, sql)
    before = len(collector.runs)
    began = time.monotonic()
    for n in range(10_000):
        sql(f"NOTIFY c, '{n}'")
    sql("UPDATE t SET n = 10000")
    sql("NOTIFY c, 'last'")
    last = time.monotonic()
    wait_until(lambda: service.line("a") == "a 10000.0", "the last one's run")
    wait_until(service.idle, "its end")
    starts = [at for _, at in collector.runs[before:]]
    assert starts[0] < last, "the first one does not wait for the storm to be over"
    assert 2 <= len(starts) <= (starts[-1] - began) / 0.5 + 2


def test_files_on_one_channel_all_run_and_others_do_not(
    service: Service, postgres_database: str, sql: Callable[[str], Any]
) -> None:
    long = "ż" * 40  # more bytes than a name may have
    files = [service.file("a", "c"), service.file("b", "c"), service.file("d", long)]
    collector = service.start(service.collector(postgres_database, *files))
    service.settle(collector, sql)
    assert sql(LISTENING + " AND datname = current_database()") == 1, "one connection for all"
    before = len(collector.runs)
    sql("NOTIFY c")
    wait_until(lambda: len(collector.runs) >= before + 2, "both runs")
    # What else that brought, would come before what the next brings.
    sql(f'NOTIFY "{"ż" * 31}"')
    wait_until(lambda: "main/d" in keys(collector, before), "the run of the third")
    wait_until(service.idle, "the end")
    assert sorted(keys(collector, before)) == ["main/a", "main/b", "main/d"]


def test_nothing_listens_where_nothing_asks_for_it(
    service: Service, postgres_database: str, sql: Callable[[str], Any]
) -> None:
    path = service.file("a", "c")
    path.write_text(path.read_text().replace("listen: 'c', ", ""))
    collector = service.start(service.collector(postgres_database, path))
    wait_until(lambda: bool(collector.runs), "the first run")
    assert not listeners()


def test_a_rehearsal_does_not_listen(service: Service, postgres_database: str) -> None:
    collector = service.collector(postgres_database, service.file("a", "c"), rehearsal=True)
    assert collector.discover().units
    assert not listeners()


def test_a_reload_changes_the_channel(
    service: Service, postgres_database: str, sql: Callable[[str], Any]
) -> None:
    old = service.start(service.collector(postgres_database, service.file("a", "c1")))
    service.settle(old, sql)
    files = [service.file("a", "c2"), service.file("b", "c3")]
    new = service.collector(postgres_database, *files)
    service.engine.replace([service.rounds(new)])
    began = time.monotonic()
    old.close()
    assert time.monotonic() - began < PATIENCE / 2
    wait_until(lambda: sql(LISTENING + " AND datname = current_database()") == 1, "one listens")
    service.settle(new, sql)
    before = len(new.runs)
    sql("NOTIFY c1")
    sql("NOTIFY c3")  # which comes after it
    wait_until(lambda: "main/b" in keys(new, before), "the run of the other file")
    wait_until(service.idle, "its end")
    assert keys(new, before) == ["main/b"]
    sql("NOTIFY c2")
    wait_until(lambda: keys(new, before) == ["main/b", "main/a"], "the run")


def test_start_is_idempotent_and_close_is_quick_and_final(
    service: Service, postgres_database: str, sql: Callable[[str], Any]
) -> None:
    collector = service.collector(postgres_database, service.file("a", "c"), max_connections=1)
    starters = [threading.Thread(target=collector.discover) for _ in range(8)]
    for one in starters:
        one.start()
    for one in starters:
        one.join()
    wait_until(lambda: sql(LISTENING + " AND datname = current_database()") == 1, "it listens")
    assert len(listeners()) == 1
    began = time.monotonic()
    collector.close()
    assert time.monotonic() - began < PATIENCE / 2
    wait_until(lambda: sql(LISTENING + " AND datname = current_database()") == 0, "the connection is gone")
    wait_until(lambda: not listeners(), "the thread is gone")
    collector.discover()
    collector.close()
    assert not listeners()


# -- failures ----------------------------------------------------------------------------------------


def test_after_a_restart_of_the_server_it_listens_again_and_runs_what_it_missed(
    service: Service, attempts: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "collectors.postgres.listening")
    server = PostgresServer(tcp=True)
    try:
        dsn = f"postgresql://postgres:hush-hush@127.0.0.1:{server.port}/postgres"
        collector = service.start(service.collector(dsn, service.file("a", "c")))
        service.settle(collector, lambda statement: server.sql(statement)[0][0])
        before = len(collector.runs)
        server.stop()
        wait_until(lambda: "listening interrupted" in caplog.text, "noticed")
        tried = len(attempts)
        wait_until(lambda: len(attempts) > tried, "another attempt")
        server.start()
        wait_until(lambda: bool(server.sql(LISTENING)[0][0]), "it listens")
        wait_until(lambda: len(collector.runs) > before, "the file runs")
        service.settle(collector, lambda statement: server.sql(statement)[0][0])
        before = len(collector.runs)
        server.sql("NOTIFY c")
        wait_until(lambda: len(collector.runs) == before + 1, "the run")
        own = [one for one in caplog.records if one.name == "collectors.postgres.listening"]
        assert [one.levelname for one in own] == ["WARNING", "INFO"], "once when lost, once when back"
        assert "the connection was lost" in own[0].__dict__["error"]
        assert "hush-hush" not in str([one.__dict__ for one in caplog.records])
    finally:
        server.remove()


def test_a_server_that_is_not_there_is_reported_once_and_without_the_password(
    service: Service, attempts: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    dsn = f"postgresql://postgres:hush-hush@127.0.0.1:{free_port()}/postgres"
    collector = service.collector(dsn, service.file("a", "c"))
    collector.discover()
    wait_until(lambda: len(attempts) > 2, "further attempts")
    own = [one for one in caplog.records if one.name == "collectors.postgres.listening"]
    assert len(own) == 1
    assert "cannot be reached" in own[0].__dict__["error"]
    assert "hush-hush" not in str(own[0].__dict__)


def test_close_does_not_wait_for_a_server_that_hangs(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        dsn = f"postgresql://postgres@127.0.0.1:{mute.getsockname()[1]}/postgres"
        collector = service.collector(dsn, service.file("a", "c"), connect_timeout=120)
        collector.discover()
        mute.settimeout(PATIENCE)
        caller, _ = mute.accept()
        began = time.monotonic()
        collector.close()
        assert time.monotonic() - began < PATIENCE / 2
        caller.close()
        wait_until(lambda: not listeners(), "its thread ends with the connection")


def test_a_bug_does_not_end_the_listening(
    service: Service,
    postgres_database: str,
    sql: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector = service.start(service.collector(postgres_database, service.file("a", "c")))
    service.settle(collector, sql)
    wake = service.engine.wake
    failures = [RuntimeError("no more threads")]

    def failing(name: str, key: str) -> None:
        if failures:
            raise failures.pop()
        wake(name, key)

    monkeypatch.setattr(service.engine, "wake", failing)
    before = len(collector.runs)
    sql("NOTIFY c")
    wait_until(lambda: len(collector.runs) > before, "it listens again")
    assert "listening raised" in caplog.text


def test_a_payload_that_is_no_text_does_not_end_it_either(
    service: Service, postgres_url: str, sql: Callable[[str], Any]
) -> None:
    sql("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0")
    try:
        url = postgres_url.replace("/postgres?", "/bytes?")
        collector = service.start(service.collector(url, service.file("a", "ż")))
        with psycopg.connect(url, autocommit=True, client_encoding="LATIN1") as connection:

            def ask(statement: str) -> Any:
                cursor = connection.execute(statement.encode())
                return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]

            service.settle(collector, ask)
            for payload in ("chr(255)", "'text'"):
                before = len(collector.runs)
                ask(f"SELECT pg_notify('ż', {payload})")
                wait_until(lambda before=before: len(collector.runs) > before, "it runs")  # type: ignore[misc]
    finally:
        service.close_collectors()
        sql("DROP DATABASE bytes WITH (FORCE)")


def test_a_server_that_closes_idle_sessions_leaves_this_one(
    service: Service, postgres_database: str, sql: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    name = sql("SELECT current_database()")
    sql(f"ALTER DATABASE {name} SET idle_session_timeout = 300")
    collector = service.start(service.collector(postgres_database, service.file("a", "c")))
    service.settle(collector, sql)
    with psycopg.connect(postgres_database, autocommit=True) as idler, selectors.DefaultSelector() as ends:
        ends.register(idler.fileno(), selectors.EVENT_READ)
        assert ends.select(PATIENCE), "it closes a session that was idle for a shorter time"
    before = len(collector.runs)
    sql("NOTIFY c")
    wait_until(lambda: len(collector.runs) > before, "it still listens")
    assert "listening interrupted" not in caplog.text


def test_what_the_server_refuses_is_said_in_its_words(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    primary = PostgresServer(settings={"wal_level": "replica"})
    replica = PostgresServer(replica_of=primary)
    try:
        collector = service.collector(replica.url, service.file("a", "c"))
        collector.discover()
        wait_until(lambda: "listening interrupted" in caplog.text, "the warning")
        own = next(one for one in caplog.records if one.name == "collectors.postgres.listening")
        assert "does not let us listen: cannot execute LISTEN during recovery" in own.__dict__["error"]
    finally:
        replica.remove()
        primary.remove()


# -- the debounce ------------------------------------------------------------------------------------


def test_the_bell_rings_at_both_edges() -> None:
    heard: list[float] = []
    now = 100.0
    bell = Bell(lambda: heard.append(now), 10)
    bell.settle(now)
    assert heard == []
    bell.ring(now)
    bell.settle(now)
    assert heard == [100]
    for now in (101.0, 102.0, 109.9):
        bell.ring(now)
        bell.settle(now)
    assert heard == [100]
    assert bell.due == 110
    now = 110.0
    bell.settle(now)
    now = 111.0
    bell.settle(now)
    assert heard == [100, 110]
    now = 130.0
    bell.ring(now)
    bell.settle(now)
    assert heard == [100, 110, 130]
