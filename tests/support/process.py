"""The real program as a process of its own: started, scraped, signalled and killed."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import requests
import yaml

from exporter import logs
from exporter.cli import main

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
SOON = 15.0
"""Seconds that a stop may take here: it gives everyone 4, and a busy machine needs some to get there."""
MEASURED = "COVERAGE_PROCESS_CONFIG"
"""The variable by which coverage.py tells programs to measure themselves."""
_never = threading.Event()


_held: list[socket.socket] = []


def free_port() -> int:
    """A port of loopback, IPv4 and IPv6, that nobody listens on, and that is ours until this process ends.

    A socket that is bound and does not listen holds it: the system gives it neither to another process that
    asks for any port nor to an outgoing connection, also while a program of a test is down between two
    starts. Who binds it by its number with SO_REUSEADDR, as servers do, still can listen on it.
    """
    while True:
        port = _hold(socket.AF_INET, "127.0.0.1", 0)
        if port and (not socket.has_ipv6 or _hold(socket.AF_INET6, "::1", port)):
            return port


def _hold(family: int, host: str, port: int) -> int:
    """Hold *port*, or any for 0; the port, 0 when another has it."""
    held = socket.socket(family)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except OSError as error:
        held.close()
        if error.errno == errno.EADDRNOTAVAIL:  # this machine has no IPv6
            return port
        if error.errno == errno.EADDRINUSE:
            return 0
        raise
    _held.append(held)
    return int(held.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for *condition*; fails with *what* when it does not come true in *seconds*."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        _never.wait(pause)
        pause = min(pause * 1.5, 0.25)


def run_cli(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command of the program to its end."""
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**_environment(), **(env or {})},
        check=False,
    )


def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `run_cli` gives, in a tenth of the time: the command runs in this process.

    For commands that end by themselves, where a test is about what they say.
    """
    output, errors = io.StringIO(), io.StringIO()
    loggers = [logging.getLogger(name) for name in ("", *logs.CHATTY)]
    levels, handlers = [one.level for one in loggers], [*loggers[0].handlers]
    environment = patch.dict(os.environ, _environment(), clear=True)
    with environment, redirect_stdout(output), redirect_stderr(errors):
        try:
            code = main(arguments)
        finally:
            logging.captureWarnings(False)
            loggers[0].handlers[:] = handlers
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


@contextmanager
def unmeasured() -> Iterator[None]:
    """Programs started in this block do not measure the coverage of our code, and take half the time.

    For what others measure anyway: long runs of code that smaller tests go through once.
    """
    told = os.environ.pop(MEASURED, None)
    try:
        yield
    finally:
        if told is not None:
            os.environ[MEASURED] = told


def _environment(*import_from: Path) -> dict[str, str]:
    """The environment without what a developer may have set for a real GitLab."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("GITLAB_", "CI_EXPORTER"))
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *import_from)))}


class ExporterProcess:
    """``ci-exporter serve`` on a free port of loopback; a context manager that kills it.

    *measured* is false where the coverage of its code is of no use: it is killed at the end, and cannot
    tell then what it ran.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        name: str = "exporter",
        import_from: Sequence[Path] = (),
        measured: bool = True,
    ) -> None:
        self._import_from = import_from
        self._measured = measured
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config_path = folder / f"{name}.yaml"
        self.log_path = folder / f"{name}.log"
        self.session = requests.Session()
        self._process: subprocess.Popen[bytes] | None = None
        self.write_config(config)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the configuration, with our own address in it."""
        metrics = {"enabled": True, "addr": f"127.0.0.1:{self.port}", "lifecycle": True}
        self.config_path.write_text(
            yaml.safe_dump({**config, "metrics": {**metrics, **config.get("metrics", {})}})
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.close()
        if self._process and self._process.poll() is None:
            self.kill()

    def start(self, *flags: str, launcher: Sequence[str] = (), pass_fds: Sequence[int] = ()) -> Self:
        """Start the process, without waiting for anything; *launcher* is what is run, and runs it."""
        arguments = ["--config", str(self.config_path), *flags]
        with self.log_path.open("ab") as log, nullcontext() if self._measured else unmeasured():
            self._process = subprocess.Popen(
                [*launcher, sys.executable, "-m", "exporter", "serve", *arguments],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=_environment(*self._import_from),
                pass_fds=pass_fds,
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; it must have been started."""
        assert self._process is not None
        return self._process

    def answers(self, path: str, status: int = 200) -> bool:
        """Whether a GET of *path* gives *status*; false also when nobody listens."""
        try:
            return self.session.get(f"{self.url}{path}", timeout=10).status_code == status
        except requests.RequestException:
            return False

    def wait_ready(self) -> Self:
        """Wait until the first round is complete."""
        wait_until(lambda: self.answers("/-/ready") or self.process.poll() is not None, "ready")
        assert self.process.poll() is None, self.log_path.read_text()
        return self

    def scrape(self) -> str:
        """The exposition as text."""
        response = self.session.get(f"{self.url}/metrics", timeout=PATIENCE)
        assert response.status_code == 200, response.text
        return response.text

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, by its id."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def terminate(self, seconds: float = PATIENCE) -> int:
        """SIGTERM; the exit code, which must come within *seconds*."""
        self.process.terminate()
        return self.process.wait(seconds)
