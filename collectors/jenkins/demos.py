"""The stand-in Jenkins of the demo, as each collector sees it."""

from __future__ import annotations

from pathlib import Path

from collectors._demos import OneStandIn, seen_as
from exporter.contract import DemoSource


def _start(directory: Path) -> DemoSource:
    from collectors.jenkins.standin.demo import demo_source

    return demo_source(directory)


_JENKINS = OneStandIn(_start)


def builds_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its jobs."""
    return _JENKINS.source(directory)


def nodes_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its nodes."""
    keys = ("url", "user", "token", "operations_per_second")
    return seen_as(_JENKINS.source(directory), "nodes of the stand-in Jenkins", keys, poll_interval_seconds=5)
