"""The stand-in GitLab of the demo, as each collector sees it."""

from __future__ import annotations

from pathlib import Path

from collectors._demos import OneStandIn, seen_as
from exporter.contract import DemoSource


def _start(directory: Path) -> DemoSource:
    from collectors.gitlab.standin.demo import demo_source

    return demo_source(directory)


_GITLAB = OneStandIn(_start)


def pipelines_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its projects."""
    return _GITLAB.source(directory)


def runners_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its runners."""
    keys = ("url", "token", "operations_per_second")
    title = "runners of the stand-in GitLab"
    return seen_as(_GITLAB.source(directory), title, keys, instance=True, poll_interval_seconds=5)


def deployments_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its deployments."""
    title = "deployments of the stand-in GitLab"
    return seen_as(_GITLAB.source(directory), title, environments_interval_seconds=15)


def changes_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that watches its merge requests."""
    return seen_as(_GITLAB.source(directory), "merge requests of the stand-in GitLab")


def tests_source(directory: Path) -> DemoSource:
    """The stand-in, and the block that reads the reports of its projects."""
    # Without history: two calls for each of its pipelines would double the time until the demo is ready.
    return seen_as(
        _GITLAB.source(directory),
        "tests in the stand-in GitLab",
        backfill_days=0,
        settle_seconds=5,
        cases={"enabled": True},
    )
