"""A PostgreSQL server of our own, which ends with us however we end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psycopg

from collectors.postgres.standin.programs import make_home, other_user, reachable
from exporter.errors import ExporterError

_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 103  # of all systems the shortest limit
_PATIENCE = 30.0
# What is lost when the machine stops is only a demo.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "max_connections": "40",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Ends the server once nobody holds the other end of the pipe any more.
_WATCH = 'read -r _; kill -QUIT "$1"'


class Server:
    """A running server; a context manager that ends it.

    Nobody but its user reaches the socket, so it asks for no passwords.
    """

    def __init__(self, directory: Path) -> None:
        self._home = make_home(directory)
        self._data = self._home / "data"
        self._programs = reachable(self._home)
        user = other_user()
        self._start: dict[str, Any] = {
            "cwd": self._home,
            # Ctrl-C in a terminal is for us; we tell the server to end when its clients are gone.
            "start_new_session": True,
            # stdout is our parent's, who waits for its end.
            "stdout": 2,
            "env": {name: value for name, value in os.environ.items() if not name.startswith("PG")},
        }
        if user is not None:
            self._start |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._sockets = self._home
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Started, and answering.

        Raises:
            ExporterError: it does not start.
        """
        try:
            if not self._data.is_dir():
                self._initialize()
            if len(os.fsencode(self._home / _SOCKET)) > _LONGEST_SOCKET_PATH:
                # Never so for root, whose home has a short path: no need to hand it over.
                self._sockets = Path(tempfile.mkdtemp(prefix="ci-exporter-", dir="/tmp"))
            deadline = time.monotonic() + _PATIENCE
            while not self._try_to_start(deadline):
                # Its predecessor may still be about to end, when that one was killed a moment ago.
                if time.monotonic() > deadline or self._holder() is None:
                    raise ExporterError("The demo's PostgreSQL did not start (see standard error)")
                time.sleep(0.2)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()

    def dsn(self, user: str, database: str) -> str:
        """How *user* reaches *database*."""
        # The port is said, for the environment may name another one.
        return f"postgresql://{user}@/{database}?host={quote(str(self._sockets), safe='/')}&port=5432"

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it; its clients are disconnected."""
        self._end()
        if self._sockets != self._home:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = self._home

    def _end(self) -> None:
        if self._watcher is not None:
            # First, for the number of an ended process may become another's.
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None
        if self._process is not None:
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                if self._process.poll() is None:
                    self._process.send_signal(number)
                try:
                    self._process.wait(10)
                    break
                except subprocess.TimeoutExpired:
                    continue
            self._process = None

    def _holder(self) -> int | None:
        """The process that holds the data folder, or did when it was killed."""
        try:
            return int((self._data / "postmaster.pid").read_text().split("\n")[0])
        except (FileNotFoundError, ValueError):
            return None

    def _initialize(self) -> None:
        """Make the data folder; in another place first, so that half of one is never taken for it."""
        fresh = self._home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        program = self._programs / "bin" / "initdb"
        options = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(  # noqa: S603
            [program, "-D", fresh, *options], check=False, stdin=subprocess.DEVNULL, **self._start
        )
        if done.returncode:
            raise ExporterError("The demo's PostgreSQL could not make its data folder (see standard error)")
        fresh.rename(self._data)

    def _try_to_start(self, deadline: float) -> bool:
        """Start it and wait until it answers; ``False`` when it ended instead."""
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        program = self._programs / "bin" / "postgres"
        self._process = subprocess.Popen(  # noqa: S603
            [program, "-D", self._data, "-p", "5432", "-k", self._sockets, *settings],
            stdin=subprocess.DEVNULL,
            **self._start,
        )
        # When we are killed, nobody is left to end the server, and it would run for ever. Linux can send a
        # signal then (PR_SET_PDEATHSIG), other systems cannot. A pipe works everywhere: we alone hold its
        # one end, so that the watcher at the other reads its end when we are gone. It runs as the user of
        # the server, and so can harm nobody else.
        self._watcher = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _WATCH, "sh", str(self._process.pid)], stdin=subprocess.PIPE, **self._start
        )
        while self._process.poll() is None and time.monotonic() < deadline:
            # Another server on the same files would answer in its place.
            if self._holder() == self._process.pid:
                with suppress(psycopg.OperationalError):
                    psycopg.connect(self.dsn("postgres", "postgres"), connect_timeout=5).close()
                    return True
            time.sleep(0.05)
        self._end()
        return False
