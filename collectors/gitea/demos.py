"""The stand-in Gitea of the demo, as each collector sees it."""

from __future__ import annotations

from pathlib import Path

from collectors._demos import OneStandIn, seen_as
from exporter.contract import DemoSource


def _start(directory: Path) -> DemoSource:
    from collectors.gitea.standin.demo import demo_source

    return demo_source(directory)


_GITEA = OneStandIn(_start)


def runs_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its repositories."""
    return _GITEA.source(directory)


def runners_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its runners."""
    keys = ("url", "token", "instance", "operations_per_second")
    return seen_as(_GITEA.source(directory), "runners of the stand-in Gitea", keys, poll_interval_seconds=5)
