"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import secrets
from pathlib import Path

from collectors._standin.demo import LIVELY, start
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
    process_id, url = start(MODULE, {**_WORLD, "token": token}, directory / "jenkins-standin.log")
    block = {
        "url": url,
        "user": USER,
        "token": token,
        "backfill_days": 2,
        **LIVELY,
    }
    return DemoSource(block, "stand-in Jenkins", (process_id,))
