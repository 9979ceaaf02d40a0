"""Starts a stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from collectors._standin.client import control, spawn

_SECONDS = 60

# Something is to be seen all the time, and a stand-in of one's own need not be spared.
LIVELY = {"poll_interval_seconds": 5, "poll_interval_max_seconds": 15, "operations_per_second": 200}


def start(module: str, options: Mapping[str, object], log: Path) -> tuple[int, str]:
    """Process id and address of a started stand-in, its errors in *log*; it ends with this process."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        process, url = spawn(module, options, subprocess.DEVNULL, errors.fileno())
    # Whoever ends it does so by its id; without this Popen would warn of a process that still runs.
    process.returncode = 0
    return process.pid, url


def order(standin: str, **action: Any) -> None:
    """Make something happen in the stand-in at the URL *standin*.

    Raises:
        ValueError: it refused.
    """
    with closing(http.client.HTTPConnection(standin.removeprefix("http://"), timeout=_SECONDS)) as connection:
        control(connection, "POST", "action", action)
