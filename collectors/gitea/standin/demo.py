"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from collectors._standin.client import spawn
from collectors.gitea.standin.client import MODULE
from exporter.contract import DemoSource

_started: dict[Path, DemoSource] = {}
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
    """The stand-in, and the block that watches its repositories; it ends with this process."""
    return _start(directory)


def runners_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its runners."""
    source = _start(directory)
    block = {key: source.block[key] for key in ("url", "token", "instance", "operations_per_second")}
    return DemoSource(
        block | {"poll_interval_seconds": 5}, "runners of the stand-in Gitea", source.process_ids
    )


def _start(directory: Path) -> DemoSource:
    """The running stand-in of *directory*; whoever asks first is told its process, to end it."""
    if (known := _started.get(directory)) is not None:
        return DemoSource(known.block, known.title, ())
    token = secrets.token_hex(20)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "gitea-standin.log").open("ab") as log:
        process, url = spawn(MODULE, {**_WORLD, "token": token}, subprocess.DEVNULL, log.fileno())
    # Whoever ends it does so by its id; without this Popen would warn of a process that still runs.
    process.returncode = 0
    block = {
        "url": url,
        "token": token,
        "instance": True,
        "poll_interval_seconds": 5,
        "poll_interval_max_seconds": 15,
        "backfill_days": 7,
        "operations_per_second": 200,
    }
    _started[directory] = DemoSource(block, "stand-in Gitea", (process.pid,))
    return _started[directory]
