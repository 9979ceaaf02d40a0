"""How many calls a steady round takes, and how much of the allowance a backfill uses.

    PYTHONPATH=. python tests/bench/bench_calls.py

Baseline: the published shape of gitlab-ci-pipelines-exporter, which asks for each ref at each tick: the
newest pipeline of the ref, its details, its jobs, its bridges.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from collectors.gitlab.standin.client import StandIn
from exporter.rounds.backfill import backfill
from tests.support.harness import START, Lab

PROJECTS, REFS, CALLS_PER_REF = 500, 26, 4
RATE, LATENCY_MS, CAPACITY = 50, 20, 4


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def people(lab: Lab) -> None:
    """Give every project its refs, each with a finished pipeline, as in the published case."""
    for number in range(PROJECTS):
        project = f"acme/p{number}"
        lab.server.action("create_project", path=project)
        for ref in range(REFS):
            lab.server.action("create_branch", project=project, name=f"branch-{ref}")
            lab.pipeline(project=project, ref=f"branch-{ref}")
    lab.advance(600)


def steady() -> None:
    """Calls of one round with some pipelines changed, by the stand-in's own count."""
    every_ref = {"branches": {"regexp": ".*"}}
    with StandIn.start(projects=0, start=START) as server, tempfile.TemporaryDirectory() as folder:
        lab = Lab(server, Path(folder), refs=every_ref)
        people(lab)
        lab.restart()
        lab.exporter.poll()
        # The newest pipeline of each ref is known from a list at first; its details follow, a few per poll.
        while any(lab.calls().get(f"GET /projects/:id/pipelines{rest}") for rest in ("/:id", "/:id/jobs")):
            lab.advance(60)
            lab.exporter.poll()
        series = lab.exporter.page.series()
        say(f"{PROJECTS} projects, {PROJECTS * REFS} refs, {series} series, jobs on")
        baseline = PROJECTS * REFS * CALLS_PER_REF
        for changed in (0, 25, 100, 500):
            for number in range(changed):
                lab.pipeline(project=f"acme/p{number}", ref="branch-0")
            lab.advance(60)
            lab.calls()
            lab.exporter.poll()
            calls = sum(lab.calls().values())
            bound = PROJECTS + 3 * changed
            say(
                f"steady round, P={PROJECTS}, c={changed}: {calls} calls (P + 3c = {bound});"
                f" baseline {baseline}, {baseline / calls:.0f} times as many"
            )
            lab.advance(60)
            lab.exporter.poll()
        lab.close()


def allowance() -> None:
    """Calls a second of a backfill, as a share of what is allowed."""
    world = {"projects": 8, "start": START, "history_days": 6, "history_pipelines": 450}
    with (
        StandIn.start(**world, latency_ms=LATENCY_MS) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        lab = Lab(server, Path(folder), operations_per_second=RATE)
        lab.calls()
        started = time.monotonic()
        backfill(
            lab.exporter.collector,
            lab.exporter.store,
            start=lab.clock.now() - timedelta(days=7),
            end=lab.clock.now(),
            capacity=CAPACITY,
            report=lambda _progress: None,
        )
        seconds = time.monotonic() - started
        calls = sum(lab.calls().values())
        lab.close()
    say(
        f"backfill at {RATE} calls/s, {LATENCY_MS} ms latency, {CAPACITY} threads: {calls} calls in"
        f" {seconds:.1f} s = {calls / seconds:.1f}/s, {calls / seconds / RATE:.0%} of the allowance"
    )


if __name__ == "__main__":
    steady()
    allowance()
