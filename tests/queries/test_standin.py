"""The PostgreSQL of the demo: it starts, lives, and never outlives who started it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from collectors.postgres.settings import PostgresConfig
from collectors.postgres.standin import programs
from collectors.postgres.standin.demo import demo_source
from collectors.postgres.standin.server import Server
from collectors.postgres.standin.world import World
from exporter.contract import DemoSource
from exporter.errors import ConfigError, ExporterError
from tests.support.process import ROOT, wait_until

# What the tables say as a whole: it changes when anything happens.
PULSE = b"""SELECT (SELECT count(*) FROM pull_requests), (SELECT max(updated_at) FROM checks),
                   (SELECT count(*) FROM reports)"""
STARTER = """
import signal, sys
from pathlib import Path
from collectors.postgres.standin.demo import demo_source
source = demo_source(Path(sys.argv[1]))
print(source.process_ids[0], flush=True)
signal.pause()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where a stand-in keeps its files; root's are elsewhere, and removed, too."""
    yield tmp_path / "demo"
    shutil.rmtree((tmp_path / "demo" / "postgres").resolve(), ignore_errors=True)


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., DemoSource]]:
    """Starts a stand-in; those that still run are ended after the test."""
    started: list[DemoSource] = []

    def start(**options: Any) -> DemoSource:
        started.append(demo_source(directory, **options))
        return started[-1]

    yield start
    for source in started:
        if _runs(source.process_ids[0]):
            _end(source)


def _end(source: DemoSource) -> int:
    os.kill(source.process_ids[0], signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(source.process_ids[0], 0)[1])


def _runs(pid: int) -> bool:
    """Whether there is such a process, and not merely its exit code."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return status != "Z"


def _rests(source: DemoSource) -> int:
    """How often the process of *source* has waited so far."""
    status = Path(f"/proc/{source.process_ids[0]}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def _dsn(source: DemoSource) -> str:
    return str(source.block["databases"]["main"]["dsn"])


def _postmaster(directory: Path) -> int:
    return int((directory / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[0])


def _ask(dsn: str, statement: bytes = PULSE) -> tuple[Any, ...]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row


def test_it_starts_moves_and_ends_and_goes_on_at_the_next_start(
    start: Callable[..., DemoSource], directory: Path
) -> None:
    began = time.monotonic()
    source = start()
    assert time.monotonic() - began < 60  # five on a quiet machine
    PostgresConfig.model_validate(source.block)
    before = _ask(_dsn(source))
    assert before[0] > 5000
    wait_until(lambda: _ask(_dsn(source)) != before, "something happens")
    postmaster = _postmaster(directory)
    assert _end(source) == 0
    assert not _runs(postmaster)
    again = start()
    assert _ask(_dsn(again))[0] >= before[0]
    assert _ask(_dsn(again), b"SELECT count(*) FROM pull_requests WHERE id = 1") == (1,)


def test_frozen_it_stays_as_it_is(frozen: str, frozen_source: DemoSource) -> None:
    before, rests = _ask(frozen), _rests(frozen_source)
    wait_until(lambda: _rests(frozen_source) > rests + 10, "time for two steps: it rests four times a second")
    assert _ask(frozen) == before


def test_its_user_may_only_read(frozen: str) -> None:
    with psycopg.connect(frozen) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(b"DELETE FROM checks")


def test_its_files_are_private(frozen: str) -> None:
    home = Path(psycopg.conninfo.conninfo_to_dict(frozen)["host"])
    for folder in (home, home / "data"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_it_ends_when_its_parent_is_killed(directory: Path) -> None:
    parent = _starter(directory)
    supervisor, postmaster = int(_line(parent)), _postmaster(directory)
    _kill(parent)
    wait_until(lambda: not _runs(supervisor) and not _runs(postmaster), "both end")


def test_postgresql_ends_when_its_supervisor_is_killed_and_starts_again(
    directory: Path, start: Callable[..., DemoSource]
) -> None:
    parent = _starter(directory)
    supervisor, postmaster = int(_line(parent)), _postmaster(directory)
    os.kill(supervisor, signal.SIGKILL)
    # At once: what is left of the first one is waited for.
    source = start()
    assert not _runs(postmaster)
    assert _ask(_dsn(source))[0] > 5000
    _kill(parent)


def test_it_ends_when_postgresql_does(start: Callable[..., DemoSource], directory: Path) -> None:
    source = start(moving=False)
    os.kill(_postmaster(directory), signal.SIGINT)
    os.waitpid(source.process_ids[0], 0)


def test_a_long_path_has_its_socket_elsewhere(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.postgres.standin.server._LONGEST_SOCKET_PATH", 10)
    monkeypatch.setattr("collectors.postgres.standin.server.tempfile.mkdtemp", _made_for_the_server)
    with Server(directory) as server:
        sockets = Path(psycopg.conninfo.conninfo_to_dict(server.dsn("postgres", "postgres"))["host"])
        assert sockets != (directory / "postgres").resolve()
        assert _ask(server.dsn("postgres", "postgres"), b"SELECT 1") == (1,)
    assert not sockets.exists()


def _made_for_the_server(prefix: str, dir: str) -> str:
    """What ``mkdtemp`` does; for root, whose home is short, it is nobody's."""
    path = Path(dir) / f"{prefix}{os.getpid()}"
    path.mkdir(mode=0o700)
    if (user := programs.other_user()) is not None:
        os.chown(path, user.pw_uid, user.pw_gid)
    return str(path)


def test_without_the_wheel_it_says_what_to_install(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"ci-exporter\[demo\]"):
        demo_source(directory)
    assert not directory.exists()


def test_a_server_that_does_not_start_is_reported_with_its_log(directory: Path) -> None:
    home = programs.make_home(directory)
    (home / "data").mkdir()  # and nothing in it
    with pytest.raises(ExporterError, match=r"did not start.*log tells why"):
        demo_source(directory)
    assert "postgres" in (directory / "postgres-standin.log").read_text()


def test_programs_out_of_reach_are_copied(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_lets_everybody_pass", lambda folder: False)
    monkeypatch.setattr(programs, "other_user", lambda: object())
    home = directory / "home"
    copied = programs.reachable(home)
    assert copied.is_relative_to(home)
    assert {path.name for path in (copied / "bin").iterdir()} == {"initdb", "postgres"}
    done = subprocess.run([copied / "bin" / "postgres", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("postgres (PostgreSQL)"), done.stderr
    assert programs.reachable(home) == copied


# -- the world in it -----------------------------------------------------------------------------


def test_days_of_movement_leave_it_as_large_as_it_was(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.postgres.standin.world._SECONDS_BETWEEN_OPENINGS", 300)
    monkeypatch.setattr("collectors.postgres.standin.world.HISTORY", timedelta(days=3))
    monkeypatch.setattr("collectors.postgres.standin.world.RETENTION", timedelta(days=4))
    now = datetime.now(UTC) - timedelta(days=60)
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        world = World(connection)
        world.prepare(now)
        open_before = _open(connection)
        for _ in range(6 * 12):
            world.move(now := now + timedelta(hours=2))
        assert 0.3 * open_before < _open(connection) < 3 * open_before
        oldest, newest, missing = _state(connection, now)
        assert now - timedelta(days=4, hours=4) <= oldest
        assert newest <= now
        assert missing < 10


def test_a_restart_makes_up_for_what_was_missed(postgres_database: str) -> None:
    now = datetime.now(UTC)
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        World(connection).prepare(now - timedelta(days=3))
        World(connection).prepare(now)
        gap = connection.execute(
            b"""SELECT max(next - created_at) FROM (
                    SELECT created_at, lead(created_at) OVER (ORDER BY created_at) AS next
                    FROM pull_requests WHERE id > 1) AS neighbours"""
        ).fetchone()
        assert gap is not None
        assert gap[0] < timedelta(hours=1)
        assert _state(connection, now)[2] == 1


def _open(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(b"SELECT count(*) FROM pull_requests WHERE state = 'open'").fetchone()
    assert row is not None
    return int(row[0])


def _state(connection: psycopg.Connection[Any], now: datetime) -> tuple[Any, ...]:
    """When the oldest closed one was closed, when the last was opened, how many lack a report that is due."""
    row = connection.execute(
        b"""SELECT min(closed_at), max(created_at), count(*) FILTER (WHERE EXISTS (
                SELECT 1 FROM expected_reports WHERE expected_reports.project_id = pull_requests.project_id
                AND created_at + due_after < %s AND NOT EXISTS (
                    SELECT 1 FROM reports
                    WHERE pull_request_id = id AND reports.kind = expected_reports.kind)))
            FROM pull_requests""",
        (now,),
    ).fetchone()
    assert row is not None
    return row


# -- processes ------------------------------------------------------------------------------------


def _starter(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(directory)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
