"""Opening a database: migrations, whose it is, and what an open leaves behind."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from exporter.contract import Batch, Unit
from exporter.errors import StoreError
from exporter.store.connect import open_engine
from exporter.store.sql import SqlStore
from exporter.store.tables import VERSION_TABLE, metadata

OPEN = "import sys; from exporter.store.sql import SqlStore; sys.stdin.read(); SqlStore(sys.argv[1]).close()"


@pytest.fixture
def store_url(empty_url: str) -> str:
    """Here, stores are made from nothing."""
    return empty_url


def test_the_migrations_build_the_tables_that_the_code_uses(store_url: str) -> None:
    engine = open_engine(store_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_processes_that_migrate_one_database_at_once_all_succeed(store_url: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, store_url], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in started:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    assert [(process.communicate()[1], process.returncode) for process in started] == [(b"", 0)] * 2
    SqlStore(store_url).close()


def test_opening_and_idle_polls_write_nothing_into_the_file(tmp_path: Path, make: Any) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    SqlStore(url).close()
    watcher = sqlite3.connect(tmp_path / "store.db")
    store = SqlStore(url)
    version = watcher.execute("PRAGMA data_version").fetchone()
    again = SqlStore(url)
    assert watcher.execute("PRAGMA data_version").fetchone() == version
    unit = store.register("t", [], backfill_days=0, now=make.START)
    assert unit == []
    desk = make_desk(store, make)
    desk.save(make.run(), cursor="1")
    version = watcher.execute("PRAGMA data_version").fetchone()
    desk.save(make.run(), cursor="1")
    desk.save(deleted_runs=(5,))
    assert watcher.execute("PRAGMA data_version").fetchone() == version
    watcher.close()
    again.close()
    store.close()


def make_desk(store: SqlStore, make: Any) -> Any:
    unit = store.register("source", [Unit("1", "one")], backfill_days=0, now=make.START)[0]
    store.save(unit.id, Batch(), make.START)
    return make.Desk(store, unit.id)


def test_opening_an_up_to_date_database_leaves_every_byte(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    SqlStore(f"sqlite:///{file}").close()
    before = file.read_bytes()
    SqlStore(f"sqlite:///{file}").close()
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_the_file_lets_readers_and_the_writer_work_side_by_side(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/store.db")
    with sqlite3.connect(tmp_path / "store.db") as reader:
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    reader.close()
    store.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite+pysqlite://"])
def test_an_in_memory_database_serves_all_threads(url: str, make: Any) -> None:
    store = SqlStore(url)
    desk = make_desk(store, make)

    def work(number: int) -> None:
        desk.save(make.run(number), cursor=str(number))
        assert desk.view.totals
        store.known(desk.unit).unfinished()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(100)))
    assert desk.total() == 100
    assert store.name == "the in-memory database"
    assert store.lease().acquire()
    store.close()


def test_a_foreign_database_is_refused_and_left_as_it_was(store_url: str, sql: Callable[[str], Any]) -> None:
    sql("CREATE TABLE jobs (id INTEGER)")
    sql("INSERT INTO jobs VALUES (7)")
    file = Path(store_url.removeprefix("sqlite:///"))
    before = file.read_bytes() if file.is_file() else b""
    with pytest.raises(StoreError, match=r"holds tables that ci-exporter did not make \(jobs\)"):
        SqlStore(store_url)
    assert sql("SELECT * FROM jobs") == [(7,)]
    assert (file.read_bytes() if file.is_file() else b"") == before


def test_other_programs_in_the_same_database_do_not_matter(store_url: str, sql: Callable[[str], Any]) -> None:
    sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")
    sql("INSERT INTO alembic_version VALUES ('0001')")
    sql("CREATE TABLE invoices (id INTEGER)")
    store = SqlStore(store_url)
    assert store.versions("any") == {}
    store.close()


def test_a_database_of_a_newer_version_is_refused(desk: Any, make: Any, store_url: str, sql: Any) -> None:
    desk.save(make.run())
    sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(
        StoreError, match=r"written by a newer version of ci-exporter \(schema 9999, .*Upgrade it"
    ):
        SqlStore(store_url)
    assert desk.total() == 1


def test_a_migration_that_fails_leaves_an_empty_database(store_url: str, sql: Any, tmp_path: Path) -> None:
    """Another program's index has a name that the last migration step wants."""
    sql("CREATE TABLE others (id INTEGER)")
    sql("CREATE INDEX jobs_by_run ON others (id)")
    with pytest.raises(StoreError, match="already exists"):
        SqlStore(store_url)
    engine = sa.create_engine(
        store_url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.pool.NullPool
    )
    assert sa.inspect(engine).get_table_names() == ["others"]
    engine.dispose()
    sql("DROP INDEX jobs_by_run")
    SqlStore(store_url).close()
