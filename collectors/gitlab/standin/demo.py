"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from collectors.gitlab.standin.client import spawn
from exporter.contract import DemoSource

_GROUP = "acme"
_WORLD: dict[str, object] = {
    "projects": 30,
    "group": _GROUP,
    "history_days": 7,
    "history_pipelines": 600,
    "speed": 30,
    "pipelines_per_hour": 45,
    "changes_per_hour": 12,
}


def demo_source(directory: Path) -> DemoSource:
    """A started demo world, its errors logged in *directory*; it ends with this process.

    About every third real second something finishes.
    """
    token = f"glpat-{secrets.token_hex(10)}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "gitlab-standin.log").open("ab") as log:
        process, url = spawn({**_WORLD, "token": token}, subprocess.DEVNULL, log.fileno())
    # Whoever ends it does so by its id; without this Popen would warn of a process that still runs.
    process.returncode = 0
    block = {
        "url": url,
        "token": token,
        "groups": [{"path": _GROUP, "include_subgroups": True}],
        "poll_interval_seconds": 5,
        "poll_interval_max_seconds": 15,
        "backfill_days": 7,
        "operations_per_second": 200,
    }
    return DemoSource(block, "stand-in GitLab", (process.pid,))
