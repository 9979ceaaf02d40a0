"""One stand-in Jenkins for the demo of both collectors: they show sides of the same world."""

from __future__ import annotations

from pathlib import Path

from exporter.contract import DemoSource

_started: dict[Path, DemoSource] = {}


def builds_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its jobs."""
    return _start(directory)


def nodes_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its nodes."""
    source = _start(directory)
    block = {key: source.block[key] for key in ("url", "user", "token", "operations_per_second")}
    return DemoSource(
        block | {"poll_interval_seconds": 5}, "nodes of the stand-in Jenkins", source.process_ids
    )


def _start(directory: Path) -> DemoSource:
    """The running stand-in of *directory*; whoever asks first is told its process, to end it."""
    from collectors.jenkins.standin.demo import demo_source

    if (known := _started.get(directory)) is not None:
        return DemoSource(known.block, known.title, ())
    _started[directory] = demo_source(directory)
    return _started[directory]
