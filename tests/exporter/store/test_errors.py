"""Everything that can be wrong with a database: one sentence that helps, no password, nothing lost."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from exporter.contract import Batch, Unit
from exporter.errors import StoreError, Unstorable
from exporter.store.connect import store_errors
from exporter.store.sql import SqlStore


def failure(url: str) -> str:
    """What opening *url* says."""
    with pytest.raises(StoreError) as caught:
        SqlStore(url)
    message = str(caught.value)
    assert "\n" not in message
    assert "hunter2" not in message
    return message


@pytest.fixture
def file(tmp_path: Path, make: Any) -> Path:
    """A database with many runs and one counted execution each, closed."""
    path = tmp_path / "folder" / "store.db"
    path.parent.mkdir()
    with filled(f"sqlite:///{path}", make) as desk:
        desk.save(*(make.run(n, ref=f"ref-{n}", web_url="x" * 200) for n in range(300)))
    return path


@contextlib.contextmanager
def filled(url: str, make: Any) -> Iterator[Any]:
    """A caught-up unit of the database."""
    store = SqlStore(url)
    unit = store.register("source", [Unit("1", "one")], backfill_days=0, now=make.START)[0]
    store.save(unit.id, Batch(), make.START)
    yield make.Desk(store, unit.id)
    store.close()


@pytest.mark.parametrize(
    "url",
    ["", "pipelines.db", "://", "postgresql://ann:hunter2@host:hunter2/db", "postgresql://[::1/db", "sqlite"],
)
def test_what_is_no_url_is_told_what_one_looks_like(url: str) -> None:
    assert failure(url) == (
        "store.url is no database URL; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
    )


@pytest.mark.parametrize("url", ["mysql://ann:hunter2@host/db", "oracle+x://host", "redis://localhost"])
def test_other_databases_are_refused_by_name(url: str) -> None:
    assert f"{url.partition(':')[0].partition('+')[0]} is not supported; use sqlite:///FILE" in failure(url)


@pytest.mark.parametrize(
    "content", [b"definitely not a database, but long enough to be read " * 90, b"x" * 99]
)
def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(content)
    assert "is no SQLite database, or is damaged. Restore a backup, or move it away" in failure(
        f"sqlite:///{path}"
    )
    assert path.read_bytes() == content


def test_a_damaged_header_is_told(file: Path) -> None:
    file.write_bytes(b"\xff" * 100 + file.read_bytes()[100:])
    assert "Restore a backup" in failure(f"sqlite:///{file}")


def test_damage_in_the_middle_is_told_and_the_rest_stays_readable(file: Path, make: Any) -> None:
    content = bytearray(file.read_bytes())
    pages = len(content) // 4096
    with contextlib.closing(sqlite3.connect(file)) as database:
        root = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'runs'").fetchone()[0]
    content[(root - 1) * 4096 : root * 4096] = b"\xa5" * 4096
    assert pages > root
    file.write_bytes(content)
    store = SqlStore(f"sqlite:///{file}")
    with pytest.raises(StoreError, match=r"it is damaged. Restore a backup, or recover .* \(DatabaseError\)"):
        store.views([1])
    with pytest.raises(StoreError, match="it is damaged"):
        store.save(1, Batch(runs=(make.run(1),), cursor="next"), make.START)
    assert store.position(1).cursor is None
    store.close()


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    assert "Check that the folder exists and may be written" in failure(f"sqlite:///{tmp_path}/no/store.db")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    assert "it cannot be opened or created" in failure(f"sqlite:///{tmp_path}")


def test_a_folder_in_which_nothing_can_be_made_is_told() -> None:
    """/proc takes no files from anybody, not even root."""
    assert "it cannot be opened or created" in failure("sqlite:////proc/store.db")


def test_a_file_that_cannot_be_written_is_told_at_the_start(file: Path, make: Any) -> None:
    before = file.read_bytes()
    message = failure(f"sqlite:///file:{file}?mode=ro&uri=true")
    assert "it cannot be written. Give this user write permission on the file and its folder" in message
    assert file.read_bytes() == before


def test_a_full_disk_is_told_and_nothing_already_stored_is_lost(file: Path, make: Any) -> None:
    with filled(f"sqlite:///{file}", make) as desk:

        @sa.event.listens_for(desk.store._engine, "checkout")
        def limit(connection: Any, _record: Any, _proxy: Any) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")

        before = desk.view
        with pytest.raises(
            StoreError, match=r"the disk is full\. Free some space; nothing already stored is lost"
        ):
            desk.save(*(make.run(n, ref="n" * 300, web_url="y" * 900) for n in range(999, 1999)), cursor="2")
        assert desk.view == before
        assert desk.store.position(desk.unit).cursor is None
        sa.event.remove(desk.store._engine, "checkout", limit)
    with filled(f"sqlite:///{file}", make) as desk:
        assert desk.total() == 300


def test_a_file_that_another_process_locks_is_told(file: Path, make: Any) -> None:
    with filled(f"sqlite:///{file}?timeout=0.01", make) as desk:
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="another process keeps it locked"):
                desk.save(make.run(5000))
            assert desk.total() == 300
        assert desk.save(make.run(5000)).counted_runs == 1


# -- PostgreSQL ----------------------------------------------------------------------------------


@pytest.fixture
def locked_role(postgres_database: str) -> Iterator[str]:
    """The URL for a role that needs the password ``right``, with ``{}`` in its place."""
    engine = sa.create_engine(postgres_database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE locked LOGIN PASSWORD 'right'")
    yield postgres_database.replace("postgres@", "locked:{}@")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP OWNED BY locked; DROP ROLE locked")
    engine.dispose()


def test_a_wrong_password_is_told_and_not_shown(locked_role: str) -> None:
    message = failure(locked_role.format("hunter2"))
    assert message.endswith("the user name or password is wrong (OperationalError)")


def test_a_role_without_rights_is_told(locked_role: str) -> None:
    assert "Make it the owner of the database" in failure(locked_role.format("right"))


def test_a_port_where_nobody_answers_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    message = failure(f"postgresql://ann:hunter2@127.0.0.1:{port}/ci")
    assert message.startswith("store 127.0.0.1/ci: no server answers there.")


def test_a_missing_socket_or_database_or_an_unknown_option_is_told(postgres_url: str, tmp_path: Path) -> None:
    assert "no server answers there" in failure(f"postgresql://postgres@/ci?host={tmp_path}")
    assert "Create it, or correct store.url" in failure(postgres_url.replace("/postgres?", "/missing?"))
    assert "option after the ? in store.url is unknown" in failure(f"{postgres_url}&sslmod=require")


def test_a_standby_or_a_database_of_another_encoding_is_refused(postgres_database: str) -> None:
    assert "Point store.url at the primary" in failure(
        f"{postgres_database}&options=-cdefault_transaction_read_only%3Don"
    )
    engine = sa.create_engine(
        postgres_database.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
        try:
            latin = postgres_database.replace(f"/{engine.url.database}?", "/latin?")
            assert "its encoding LATIN1 cannot hold every name" in failure(latin)
        finally:
            connection.exec_driver_sql("DROP DATABASE latin WITH (FORCE)")
    engine.dispose()


def test_a_connection_that_breaks_half_way_leaves_no_trace(postgres_database: str, make: Any) -> None:
    with filled(postgres_database, make) as desk:
        desk.save(make.run(1), cursor="1")
        before = desk.view
        engine = sa.create_engine(postgres_database.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER cut BEFORE UPDATE ON totals FOR EACH ROW EXECUTE FUNCTION cut()"
            )
        with pytest.raises(StoreError):
            desk.save(make.run(2), cursor="2")
        assert (desk.view, desk.store.position(desk.unit).cursor) == (before, "1")
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER cut ON totals")
        engine.dispose()
        assert desk.save(make.run(2), cursor="2").counted_runs == 1


def test_a_copy_of_the_database_opens_like_the_original(file: Path, tmp_path: Path, make: Any) -> None:
    shutil.copy(file, tmp_path / "copy.db")
    with filled(f"sqlite:///{tmp_path}/copy.db", make) as desk:
        assert desk.total() == 300


def test_what_a_database_refuses_for_what_it_is_is_told_from_a_database_that_fails() -> None:
    url = make_url("sqlite://")
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE one (id INTEGER PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO one VALUES (1)"))
        with pytest.raises(Unstorable), store_errors(url):
            connection.execute(sa.text("INSERT INTO one VALUES (1)"))
        with pytest.raises(StoreError) as caught, store_errors(url):
            connection.execute(sa.text("INSERT INTO other VALUES (1)"))
    assert not isinstance(caught.value, Unstorable)
    engine.dispose()
