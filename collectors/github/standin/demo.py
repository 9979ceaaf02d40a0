"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import secrets
from pathlib import Path

from collectors._standin.demo import LIVELY, start
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
    process_id, url = start(MODULE, {**_WORLD, "token": token}, directory / "github-standin.log")
    block = {
        "url": url,
        "token": token,
        "organizations": [{"name": _ORGANIZATION}],
        "backfill_days": 3,
        **LIVELY,
    }
    return DemoSource(block, "stand-in GitHub", (process_id,))
