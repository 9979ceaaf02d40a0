"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from collectors._standin.client import spawn
from collectors.github.standin.client import MODULE
from exporter.contract import DemoSource

_ORGANIZATION = "octo"
_WORLD: dict[str, object] = {
    "projects": 6,
    "group": _ORGANIZATION,
    "runners": 6,
    "history_days": 3,
    "history_runs_per_hour": 2,
    "runs_per_hour": 120,
    "speed": 1,
}


def demo_source(directory: Path) -> DemoSource:
    """A started demo world, its errors logged in *directory*; it ends with this process."""
    token = f"ghp_{secrets.token_hex(10)}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "github-standin.log").open("ab") as log:
        process, url = spawn(MODULE, {**_WORLD, "token": token}, subprocess.DEVNULL, log.fileno())
    # Whoever ends it does so by its id; without this Popen would warn of a process that still runs.
    process.returncode = 0
    block = {
        "url": url,
        "token": token,
        "organizations": [{"name": _ORGANIZATION}],
        "poll_interval_seconds": 5,
        "poll_interval_max_seconds": 15,
        "backfill_days": 3,
        "operations_per_second": 200,
    }
    return DemoSource(block, "stand-in GitHub", (process.pid,))
