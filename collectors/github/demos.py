"""One stand-in GitHub for the demo of all collectors: they show sides of the same world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.contract import DemoSource

_started: dict[Path, DemoSource] = {}


def runs_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its repositories."""
    return _start(directory)


def runners_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its runners."""
    source = _start(directory)
    block: dict[str, Any] = {key: source.block[key] for key in ("url", "token", "operations_per_second")}
    more = {
        "organizations": [one["name"] for one in source.block["organizations"]],
        "poll_interval_seconds": 5,
    }
    return DemoSource(block | more, "runners of the stand-in GitHub", source.process_ids)


def _start(directory: Path) -> DemoSource:
    """The running stand-in of *directory*; whoever asks first is told its process, to end it."""
    from collectors.github.standin.demo import demo_source

    if (known := _started.get(directory)) is not None:
        return DemoSource(known.block, known.title, ())
    _started[directory] = demo_source(directory)
    return _started[directory]
