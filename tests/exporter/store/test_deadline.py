"""A PostgreSQL that takes everything and answers nothing: given up in time, and nothing counts twice."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import pytest
import sqlalchemy as sa

from exporter.contract import Batch, Unit
from exporter.errors import StoreError
from exporter.rounds import scheduler
from exporter.store import connect
from exporter.store.deadline import NoAnswer
from exporter.store.lease import LeaseUnknown
from exporter.store.sql import SqlStore
from tests.support.engine import Service, wait_until
from tests.support.fakes import run, value
from tests.support.postgres import PostgresServer

PATIENCE = 1.0
COMMIT = b"Q\0\0\0\x0bCOMMIT\0"  # the whole message
LONG = 25.0  # far less than the patience of those who have not lost it, far more than a loaded machine needs


@pytest.fixture(scope="module")
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server of our own, since nobody else can use a frozen one."""
    server = PostgresServer(programs=postgres_server.programs, tcp=True)
    yield server
    server.remove()


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database, over the loopback."""
    server.sql("CREATE DATABASE ci")
    yield server.tcp_url.removesuffix("postgres") + "ci?connect_timeout=2"
    server.sql("DROP DATABASE ci WITH (FORCE)")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "_ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(connect, "_LEASE_ANSWER_SECONDS", PATIENCE)


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def opened(url: str) -> Iterator[SqlStore]:
    store = SqlStore(url)
    yield store
    store.close()


def a_desk(store: SqlStore, make: Any) -> Any:
    """A caught-up unit."""
    unit = store.register("source", [Unit("1", "one")], backfill_days=0, now=make.START)[0]
    store.save(unit.id, Batch(), make.START)
    return make.Desk(store, unit.id)


# -- what is asked -------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_frozen_server_fails_reads_and_writes_and_serves_again_when_it_wakes(
    server: PostgresServer, database: str, make: Any
) -> None:
    with opened(database) as store:
        desk = a_desk(store, make)
        desk.save(make.run(1), cursor="1")
        with frozen(server):
            began = monotonic()
            for _ in range(2):  # with a connection from the pool, and with none
                with pytest.raises(StoreError, match=r"gave no answer|does not answer in time"):
                    desk.save(make.run(2), cursor="2")
                with pytest.raises(StoreError, match="does not answer in time"):
                    store.views([desk.unit])
            assert monotonic() - began < LONG
        assert desk.save(make.run(2), cursor="2").counted_runs == 1
        assert desk.total() == 2
        assert "Checked out connections: 0" in store._engine.pool.status()


def test_a_server_that_hangs_up_is_called_again_at_once(
    server: PostgresServer, database: str, make: Any
) -> None:
    with opened(database) as store:
        desk = a_desk(store, make)
        ours = "FROM pg_stat_activity WHERE datname = 'ci'"
        for number in (1, 2):  # each time with a connection that was in use a moment ago
            desk.save(make.run(number), cursor=str(number))
            server.sql(f"SELECT pg_terminate_backend(pid) {ours}")
            server.wait_for(f"SELECT count(*) = 0 {ours}")
        assert desk.save(make.run(3), cursor="3").counted_runs == 1
        assert desk.total() == 3


@pytest.mark.usefixtures("impatient")
def test_one_that_freezes_in_a_transaction_takes_it_back_when_it_wakes(
    server: PostgresServer, database: str, make: Any
) -> None:
    with opened(database) as store:
        desk = a_desk(store, make)
        gave_up = pytest.raises(StoreError, match=r"gave no answer for 1 s\. It may be frozen .*\(NoAnswer\)")
        with gave_up, store._write() as connection:
            connection.exec_driver_sql("UPDATE units SET cursor = 'half'")
            with frozen(server):
                connection.exec_driver_sql("SELECT 1")
        assert desk.save(make.run(1), cursor="1").counted_runs == 1
        assert store.position(desk.unit).cursor == "1"
        assert "Checked out connections: 0" in store._engine.pool.status()


@pytest.mark.usefixtures("impatient")
def test_what_was_given_up_ends_on_the_server_too(server: PostgresServer, database: str, make: Any) -> None:
    with opened(database) as store:
        desk = a_desk(store, make)
        holder = sa.create_engine(store._engine.url)
        with holder.begin() as other:
            other.exec_driver_sql("SELECT * FROM units FOR UPDATE")
            with pytest.raises(StoreError, match="or wait for a lock that somebody holds"):
                desk.save(make.run(1), cursor="1")
            server.wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        holder.dispose()
        assert desk.save(make.run(1), cursor="1").counted_runs == 1


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_keeps_coming_is_never_cut(database: str) -> None:
    rows = "SELECT repeat('x', 20000), pg_sleep(0.1) FROM generate_series(1, 25)"  # more than twice as long
    with opened(database) as store, store._engine.connect() as connection:
        began = monotonic()
        assert len(connection.exec_driver_sql(rows).all()) == 25
        assert monotonic() - began > 2 * PATIENCE
        with pytest.raises(sa.exc.OperationalError) as silence:
            connection.exec_driver_sql("SELECT pg_sleep(30)")
        assert isinstance(silence.value.orig, NoAnswer)
        assert connection.invalidated


# -- commits -------------------------------------------------------------------------------------


class Mute:
    """Passes on what a client and *server* say, until the client says COMMIT: from then on, silence.

    ``hears`` is whether that COMMIT still comes to the server. Once only; later connections work.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.armed = self.hears = False
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server.port)) as server, suppress(OSError):
            while True:
                for one in select.select([client, server], [], [])[0]:
                    data = one.recv(65_536)
                    if self.armed and one is client and COMMIT in data:
                        self.armed = False
                        if self.hears:
                            server.sendall(data)
                        while client.recv(65_536):  # until it gives up
                            pass
                        return
                    if not data:
                        return
                    (server if one is client else client).sendall(data)


@pytest.fixture
def mute(server: PostgresServer) -> Iterator[Mute]:
    mute = Mute(server)
    yield mute
    mute.close()


@pytest.mark.parametrize("hears", [True, False])
@pytest.mark.usefixtures("impatient")
def test_a_batch_whose_commit_got_no_answer_is_saved_again_and_counted_once(
    server: PostgresServer, database: str, mute: Mute, make: Any, *, hears: bool
) -> None:
    with opened(database.replace(f":{server.port}/", f":{mute.port}/")) as store:
        desk = a_desk(store, make)
        desk.save(make.run(1), make.job(1), cursor="1")
        mute.armed, mute.hears = True, hears
        with pytest.raises(StoreError, match="gave no answer"):
            desk.save(make.run(2), make.job(2, run_id=2), cursor="2")
        assert not mute.armed
        again = desk.save(make.run(2), make.job(2, run_id=2), cursor="2")
        assert (again.counted_runs, again.counted_jobs) == ((0, 0) if hears else (1, 1))
        assert (desk.total(), desk.total("ci_job_runs")) == (2, 2)
        assert store.position(desk.unit).cursor == "2"


# -- migrations ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_migrations_may_take_any_time(server: PostgresServer, database: str) -> None:
    waiting = "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    holder = sa.create_engine(connect.make_url(database).set(drivername="postgresql+psycopg"))
    with ThreadPoolExecutor() as pool, holder.connect() as other:
        other.exec_driver_sql("SELECT pg_advisory_xact_lock(4120713)")
        opening = pool.submit(SqlStore, database)
        server.wait_for(waiting)
        other.exec_driver_sql(f"SELECT pg_sleep({3 * PATIENCE})")
        assert not opening.done()
        other.rollback()
        store = opening.result(LONG)
    holder.dispose()
    # Only them: what is asked later has its deadline, also on the same connection.
    with store._engine.connect() as connection, pytest.raises(sa.exc.OperationalError):
        connection.exec_driver_sql("SELECT pg_sleep(30)")
    store.close()


# -- the lease and the rounds --------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_of_a_frozen_server_the_lease_is_unknown_and_comes_back_with_it(
    server: PostgresServer, database: str
) -> None:
    with opened(database) as store, opened(database) as other:
        lease, rival = store.lease(), other.lease()
        assert lease.acquire()
        assert not rival.acquire()
        with frozen(server):
            for one in (lease, rival, lease):
                with pytest.raises(LeaseUnknown, match="does not answer"):
                    one.acquire()
        wait_until(lease.acquire, "the lease, once the server let go of the old session")
        assert not rival.acquire()
        lease.release()


@pytest.mark.usefixtures("impatient")
def test_rounds_pause_while_the_server_is_frozen_and_go_on_by_themselves(
    server: PostgresServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(scheduler, "_STANDBY_SECONDS", 0.1)
    # Longer than it is frozen: that it pauses must not hang on workers that are free.
    monkeypatch.setattr(connect, "_ANSWER_SECONDS", LONG)
    service = Service(database, capacity=1)
    source = service.source()
    source.answers["1"] = [Batch(runs=(run(7),))]
    try:
        service.start(source)
        wait_until(lambda: "last_run_id{" in service.text() and not service.engine.not_ready(), "a round")
        with frozen(server):
            wait_until(lambda: value(service.world, "ci_exporter_leader") == 0, "the pause")
            assert "last_run_id{" in service.text()
            assert service.engine.not_ready() is None
            before = len(source.polls)
        wait_until(lambda: len(source.polls) > before + 5, "polls once it is awake")
        assert value(service.world, "ci_exporter_leader") == 1
        assert [record.message for record in caplog.records].count("polling pauses") == 1
    finally:
        service.stop()
        service.store.close()


@pytest.mark.usefixtures("impatient")
def test_polls_that_a_frozen_server_failed_are_tried_again(
    server: PostgresServer, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(database)
    source = service.source()
    source.answers["1"] = [Batch(runs=(run(number),)) for number in range(1, 500)]
    try:
        service.start(source)
        wait_until(lambda: len(source.polls) > 3, "polls")
        with frozen(server):
            wait_until(lambda: "poll failed" in caplog.text, "a poll that fails")
        before = len(source.polls)
        wait_until(lambda: len(source.polls) > before + 5, "polls once it is awake")
    finally:
        service.stop()
        service.store.close()
