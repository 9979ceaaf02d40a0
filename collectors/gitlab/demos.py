"""One stand-in GitLab for the demo of all collectors: they show sides of the same world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter.contract import DemoSource

_started: dict[Path, DemoSource] = {}


def pipelines_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its projects."""
    return _start(directory)


def runners_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its runners."""
    source = _start(directory)
    block: dict[str, Any] = {key: source.block[key] for key in ("url", "token", "operations_per_second")}
    more = {"instance": True, "poll_interval_seconds": 5}
    return replace(source, block=block | more, title="runners of the stand-in GitLab")


def deployments_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its deployments."""
    return _of_projects(directory, "deployments of the stand-in GitLab", environments_interval_seconds=15)


def changes_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its merge requests."""
    return _of_projects(directory, "merge requests of the stand-in GitLab")


def _of_projects(directory: Path, title: str, **more: Any) -> DemoSource:
    """The stand-in, and a block that polls the same projects as that of pipelines."""
    source = _start(directory)
    block = {key: value for key, value in source.block.items() if key != "hooks"}
    return replace(source, block=block | more, title=title)


def tests_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that reads the reports of its projects."""
    # Without history: two calls for each of its pipelines would double the time until the demo is ready.
    more = {"backfill_days": 0, "settle_seconds": 5, "cases": {"enabled": True}}
    return _of_projects(directory, "tests in the stand-in GitLab", **more)


def _start(directory: Path) -> DemoSource:
    """The running stand-in of *directory*; whoever asks first is to end it, and have it send hooks."""
    from collectors.gitlab.standin.demo import demo_source

    if (known := _started.get(directory)) is not None:
        return DemoSource(known.block, known.title, ())
    _started[directory] = demo_source(directory)
    return _started[directory]
