"""``python -m collectors.postgres.standin DIRECTORY``: runs a PostgreSQL full of pull requests."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from collectors.postgres.standin.server import Server
from collectors.postgres.standin.world import World
from exporter.errors import ExporterError

DATABASE = "demo"
READER = "exporter"
_PARENT_CHECK_SECONDS = 0.25
_STEP_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop; the first line of output is the DSN, written once all is ready."""
    parser = argparse.ArgumentParser(prog="python -m collectors.postgres.standin", description=__doc__)
    parser.add_argument("directory", type=Path, help="where its files are kept")
    parser.add_argument("--frozen", action="store_true", help="nothing happens after the start")
    parser.add_argument("--parent", type=int, metavar="PID", help="end with this process, our parent")
    given = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        with Server(given.directory) as server:
            _run(server, given.parent, frozen=given.frozen)
    except (ExporterError, psycopg.OperationalError) as error:
        # The latter when somebody else ended the server.
        sys.exit(str(error))


def _leave(*_: object) -> None:
    """End the program by way of its context managers, undisturbed by a second signal."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


def _run(server: Server, parent: int | None, *, frozen: bool) -> None:
    _create_database(server.dsn("postgres", "postgres"))
    with psycopg.connect(server.dsn("postgres", DATABASE), autocommit=True) as connection:
        world = World(connection)
        world.prepare(datetime.now(UTC), frozen=frozen)
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}".encode())
        sys.stdout.write(server.dsn(READER, DATABASE) + "\n")
        sys.stdout.flush()
        next_step = time.monotonic()
        while server.running and parent in (None, os.getppid()):
            if not frozen and time.monotonic() >= next_step:
                world.move(datetime.now(UTC))
                next_step = time.monotonic() + _STEP_SECONDS
            time.sleep(_PARENT_CHECK_SECONDS)


def _create_database(dsn: str) -> None:
    """The database of the demo, and a role that may read it; those that are there stay."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        if not connection.execute(b"SELECT FROM pg_roles WHERE rolname = %s", (READER,)).fetchall():
            connection.execute(f"CREATE ROLE {READER} LOGIN".encode())
        if not connection.execute(b"SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchall():
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())


if __name__ == "__main__":
    main()
