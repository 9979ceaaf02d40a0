"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import secrets
from pathlib import Path

from collectors._standin.demo import LIVELY, start
from collectors.gitea.standin.client import MODULE
from exporter.contract import DemoSource

# Time passes as it does outside: faster, and every timestamp would soon lie in the exporter's future.
_WORLD: dict[str, object] = {
    "projects": 5,
    "group": "forge",
    "runners": 6,
    "history_days": 7,
    "history_runs_per_hour": 0.5,
    "runs_per_hour": 120,
    "speed": 1,
}


def demo_source(directory: Path) -> DemoSource:
    """A started demo world, its errors logged in *directory*; it ends with this process."""
    token = secrets.token_hex(20)
    process_id, url = start(MODULE, {**_WORLD, "token": token}, directory / "gitea-standin.log")
    block = {"url": url, "token": token, "instance": True, "backfill_days": 7, **LIVELY}
    return DemoSource(block, "stand-in Gitea", (process_id,))
