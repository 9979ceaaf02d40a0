"""What tests of GitLab's runners do to a fleet, and how they read what is shown of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.harness import FleetLab

ACME: dict[str, Any] = {"instance": False, "groups": ["acme"]}
REST: dict[str, Any] = {"graphql": "never"}
LIST, DETAIL = "GET /runners/all", "GET /runners/:id"
MANAGERS, JOBS = f"{DETAIL}/managers", f"{DETAIL}/jobs"
GRAPHQL = "POST /graphql"

Made = Callable[..., FleetLab]


def runner(lab: FleetLab, **given: Any) -> str:
    """A new runner that is at work, of the instance unless ``type`` says otherwise; returns its id."""
    return str(lab.act("new_runner", **{"tags": ["docker"], **given})["runner_id"])


def samples(lab: FleetLab) -> list[str]:
    lab.exporter.poll()
    return [line for line in lab.exporter.text.splitlines() if not line.startswith("#")]


def queue(lab: FleetLab) -> dict[tuple[str, str], float]:
    """``(runner_type, tags) -> jobs`` that wait."""
    return {
        (line.split('runner_type="')[1].split('"')[0], line.split('tags="')[1].split('"')[0]): float(
            line.rpartition(" ")[2]
        )
        for line in lab.exporter.lines("ci_runner_queue_jobs")
    }


def troubles(lab: FleetLab) -> str:
    trouble = lab.exporter.rounds.states()[0].trouble
    return f"{trouble.name}: {trouble.reason}: {trouble.detail}" if trouble else ""


def a_lively_fleet(lab: FleetLab) -> None:
    """Runners of all types and states, a job that runs, and jobs that wait for several reasons."""
    runner(lab, description="shared")
    runner(lab, description="old", managers=0)
    runner(lab, description="off", silent=4 * 3600, created=86_400)
    runner(lab, description="stale", silent=9 * 86_400, created=20 * 86_400)
    runner(lab, description="paused", tags=["gpu"], paused=True)
    runner(lab, description="group", type="group_type", group="acme", tags=["big"], concurrent=1)
    lab.pipeline({"name": "a", "tags": ["big"], "run": 900}, {"name": "b", "tags": ["big"], "run": 900})
    lab.pipeline({"name": "c", "tags": ["gpu"]}, {"name": "d", "tags": ["docker"], "run": 900})
    lab.advance(60)
