"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from collectors._standin.client import spawn
from collectors.gitlab.standin.client import MODULE
from exporter.contract import DemoSource

_GROUP = "acme"
# Time passes as it does outside: faster, and every timestamp would soon lie in the exporter's future.
_WORLD: dict[str, object] = {
    "projects": 30,
    "group": _GROUP,
    "runners": 14,
    "admin": True,
    "stories": {"no_runner": 1},
    "history_days": 7,
    "history_pipelines": 600,
    "warm_up": 900,
    "speed": 1,
    "pipelines_per_hour": 900,
    "changes_per_hour": 60,
}


def demo_source(directory: Path) -> DemoSource:
    """A started demo world, its errors logged in *directory*; it ends with this process.

    A new pipeline begins every four seconds, and as often one finishes. Of its runners most work, one each
    is offline, stale, paused and new; now and then a job waits for a runner that is not there.
    """
    token = f"glpat-{secrets.token_hex(10)}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "gitlab-standin.log").open("ab") as log:
        process, url = spawn(MODULE, {**_WORLD, "token": token}, subprocess.DEVNULL, log.fileno())
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
