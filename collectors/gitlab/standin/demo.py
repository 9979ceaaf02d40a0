"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import secrets
from pathlib import Path

from collectors._standin.demo import LIVELY, start
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
    process_id, url = start(MODULE, {**_WORLD, "token": token}, directory / "gitlab-standin.log")
    block = {
        "url": url,
        "token": token,
        "groups": [{"path": _GROUP, "include_subgroups": True}],
        "backfill_days": 7,
        **LIVELY,
    }
    return DemoSource(block, "stand-in GitLab", (process_id,))
