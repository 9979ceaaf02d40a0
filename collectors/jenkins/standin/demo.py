"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from collectors._standin.client import spawn
from collectors.jenkins.standin.client import MODULE
from collectors.jenkins.standin.site import USER
from exporter.contract import DemoSource

# Time passes as it does outside: faster, and every timestamp would soon lie in the exporter's future.
_WORLD: dict[str, object] = {
    "projects": 8,
    "group": "jenkins-demo",
    "runners": 5,
    "history_days": 2,
    "history_runs_per_hour": 4,
    "runs_per_hour": 200,
    "speed": 1,
}


def demo_source(directory: Path) -> DemoSource:
    """A started demo world, its errors logged in *directory*; it ends with this process."""
    token = secrets.token_hex(17)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "jenkins-standin.log").open("ab") as log:
        process, url = spawn(MODULE, {**_WORLD, "token": token}, subprocess.DEVNULL, log.fileno())
    # Whoever ends it does so by its id; without this Popen would warn of a process that still runs.
    process.returncode = 0
    block = {
        "url": url,
        "user": USER,
        "token": token,
        "poll_interval_seconds": 5,
        "poll_interval_max_seconds": 15,
        "backfill_days": 2,
        "operations_per_second": 200,
    }
    return DemoSource(block, "stand-in Jenkins", (process.pid,))
