"""The stand-in GitHub of the demo, as each collector sees it."""

from __future__ import annotations

from pathlib import Path

from collectors._demos import OneStandIn, seen_as
from exporter.contract import DemoSource


def _start(directory: Path) -> DemoSource:
    from collectors.github.standin.demo import demo_source

    return demo_source(directory)


_GITHUB = OneStandIn(_start)


def runs_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its repositories."""
    return _GITHUB.source(directory)


def runners_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its runners."""
    source = _GITHUB.source(directory)
    organizations = [one["name"] for one in source.block["organizations"]]
    keys = ("url", "token", "operations_per_second")
    title = "runners of the stand-in GitHub"
    return seen_as(source, title, keys, organizations=organizations, poll_interval_seconds=5)
