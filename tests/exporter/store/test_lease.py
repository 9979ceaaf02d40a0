"""The lease: one holder at a time, free at once when the holder is gone, however it went."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from exporter.errors import StoreError
from exporter.store.lease import FileLease, LeaseUnknown
from exporter.store.sql import SqlStore

HOLD = (
    "import sys; from exporter.store.sql import SqlStore; lease = SqlStore(sys.argv[1]).lease();"
    " print(lease.acquire(), flush=True); sys.stdin.read()"
)


@contextmanager
def holder(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that took the lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdin
    try:
        assert process.stdout.readline() == "True\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@contextmanager
def outside_transactions(url: str) -> Iterator[sa.Connection]:
    """A connection to the server that commits each statement."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def wait_until_gone(sql: Callable[[str], Any], store_url: str) -> None:
    """PostgreSQL needs a moment to notice that a client died: wait for the lock itself, in the server."""
    if store_url.startswith("postgresql"):
        sql("SELECT pg_advisory_xact_lock(4120714)")


def test_a_second_process_does_not_get_it_until_the_holder_is_killed(
    store: SqlStore, store_url: str, sql: Callable[[str], Any]
) -> None:
    lease = store.lease()
    with holder(store_url) as process:
        assert not lease.acquire()
        assert not lease.acquire()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until_gone(sql, store_url)
        assert lease.acquire()
    lease.release()


def test_it_is_confirmed_and_given_back(store: SqlStore, open_store: Callable[[], SqlStore]) -> None:
    mine, other = store.lease(), open_store().lease()
    assert mine.acquire()
    assert mine.acquire()
    assert not other.acquire()
    mine.release()
    mine.release()
    assert other.acquire()
    assert not mine.acquire()
    other.release()


def test_a_lost_connection_is_noticed_and_the_lease_taken_anew(postgres_database: str, make: Any) -> None:
    store, other = SqlStore(postgres_database), SqlStore(postgres_database)
    lease, rival = store.lease(), other.lease()
    assert lease.acquire()
    with other._engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
        )
    assert rival.acquire()
    assert not lease.acquire()
    assert not lease.acquire()
    rival.release()
    assert lease.acquire()
    lease.release()
    store.close()
    other.close()


def test_a_server_that_takes_no_connections_says_nothing_of_the_lease(
    postgres_url: str, postgres_database: str
) -> None:
    store = SqlStore(postgres_database)
    lease = store.lease()
    assert lease.acquire()
    database = store._engine.url.database
    with outside_transactions(postgres_url) as server:
        server.exec_driver_sql(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        server.exec_driver_sql(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'"
        )
        for _ in range(2):
            with pytest.raises(LeaseUnknown, match="does not answer"):
                lease.acquire()
        server.exec_driver_sql(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
    assert lease.acquire()
    lease.release()
    assert "Checked out connections: 0" in store._engine.pool.status()
    store.close()


def test_two_names_of_one_file_are_one_lease(tmp_path: Path) -> None:
    database, link = tmp_path / "store.db", tmp_path / "link.db"
    database.touch()
    link.symlink_to(database)
    urls = [f"sqlite:///{database}", f"sqlite:///{link}", f"sqlite:///file:{database}?uri=true"]
    stores = [SqlStore(url) for url in urls]
    leases = [store.lease() for store in stores]
    assert [lease.acquire() for lease in leases] == [True, False, False]
    leases[0].release()
    for store in stores:
        store.close()


def test_a_lock_file_that_was_deleted_is_no_lease_any_more(tmp_path: Path) -> None:
    mine, other = FileLease(tmp_path / "store.db"), FileLease(tmp_path / "store.db")
    assert mine.acquire()
    (tmp_path / "store.db.lock").unlink()
    assert other.acquire()
    assert not mine.acquire()
    other.release()
    assert mine.acquire()
    mine.release()


def test_a_lock_file_that_cannot_be_made_is_told() -> None:
    with pytest.raises(StoreError, match=r"/proc/store.db.lock cannot be made .* write permission"):
        FileLease(Path("/proc/store.db")).acquire()
