"""Starts a stand-in in a process of its own and steers it."""

from __future__ import annotations

import http.client
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import urlencode

_START_SECONDS = 60.0
_ROOT = Path(__file__).resolve().parents[2]


def command(module: str, options: Mapping[str, object]) -> list[str]:
    """The command line of a stand-in; ``history_days=7`` becomes ``--history-days 7``, a list repeats."""
    line = [sys.executable, "-m", module, "--exit-with-parent"]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "stories" and isinstance(value, Mapping):
            for story, weight in value.items():
                line += ["--story", f"{story}={weight}"]
        elif isinstance(value, list | tuple):
            for item in value:
                line += [flag, str(item)]
        elif value is True:
            line.append(flag)
        elif value is not False and value is not None:
            line += [flag, str(value)]
    return line


def spawn(
    module: str, options: Mapping[str, object], stdin: int, stderr: int | None = None
) -> tuple[subprocess.Popen[str], str]:
    """A started stand-in and its URL, once it answers.

    Raises:
        RuntimeError: it ended, or said nothing for a minute.
    """
    paths = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    process = subprocess.Popen(  # noqa: S603
        command(module, options),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert process.stdout is not None  # noqa: S101
    ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    line = process.stdout.readline() if ready else ""
    process.stdout.close()
    if not line.startswith("listening on "):
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        raise RuntimeError("the stand-in did not start")
    return process, line.removeprefix("listening on ").strip()


def control(
    connection: http.client.HTTPConnection, method: str, name: str, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a control endpoint of the stand-in at the other end answers.

    Raises:
        ValueError: it refused.
    """
    connection.request(method, f"/__standin__/{name}", None if given is None else json.dumps(given))
    response = connection.getresponse()
    answer: dict[str, Any] = json.loads(response.read())
    if response.status != 200:
        raise ValueError(answer.get("error"))
    return answer


class StandIn:
    """A running stand-in; a context manager that ends it.

    ``module`` is what to start with ``python -m``, ``usual_token`` the token if none is given.
    """

    module: ClassVar[str]
    usual_token: ClassVar[str] = "standin-token"  # noqa: S105

    def __init__(self, process: subprocess.Popen[str], url: str, token: str) -> None:
        self.url = url
        self.token = token
        self._process = process
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)

    @classmethod
    def start(cls, **options: Any) -> Self:
        """Start one; *options* are those of the command line with underscores, and ``stories`` a dict."""
        process, url = spawn(cls.module, options, subprocess.PIPE)
        return cls(process, url, str(options.get("token", cls.usual_token)))

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def stop(self) -> int:
        """End it; returns its exit code."""
        self._connection.close()
        self._process.terminate()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def control(self, method: str, name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a control endpoint answers.

        Raises:
            ValueError: it refused.
        """
        return control(self._connection, method, name, given)

    def advance(self, seconds: float) -> str:
        """Let simulated time pass; returns the new time, ISO 8601."""
        return str(self.control("POST", "advance", {"seconds": seconds})["now"])

    def action(self, action: str, **given: Any) -> dict[str, Any]:
        """Make something happen."""
        return self.control("POST", "action", {"action": action, **given})

    def truth(self, *, past: bool = True, kind: str = "", project_id: int | None = None) -> dict[str, Any]:
        """Every finished execution, and what was deleted."""
        asked = {"past": str(past).lower()} | ({"kind": kind} if kind else {})
        if project_id is not None:
            asked["project_id"] = str(project_id)
        return self.control("GET", f"truth?{urlencode(asked)}")

    def requests(self, *, log: bool = False, reset: bool = False) -> dict[str, Any]:
        """API requests so far by endpoint and status; *reset* forgets them afterwards."""
        known = self.control("GET", "requests?log=1" if log else "requests")
        if reset:
            self.control("DELETE", "requests")
        return known

    def faults(self, *rules: Mapping[str, Any], latency_ms: float | None = None) -> dict[str, Any]:
        """Put *rules* in force instead of all before; none heals everything but the latency."""
        entries: Iterable[dict[str, Any]] = [dict(rule) for rule in rules]
        given: dict[str, Any] = {"rules": entries}
        if latency_ms is not None:
            given["latency_ms"] = latency_ms
        return self.control("POST", "faults", given)
