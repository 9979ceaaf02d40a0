"""Hooks and polls race on the same runs, through the real program: the totals equal the truth."""

from __future__ import annotations

import random
from typing import Any

import yaml

from collectors.gitlab.standin.client import StandIn
from tests.acceptance.conftest import MakeExporter, StartStandIn
from tests.acceptance.test_exactly_once import STORIES, assert_totals_come_true, watched_projects
from tests.support.process import ExporterProcess, wait_until

SECRET = "hook-secret-of-the-lab"


def with_hooks(exporter: ExporterProcess, **gitlab: Any) -> ExporterProcess:
    """*exporter*, configured to accept GitLab's hooks."""
    config = yaml.safe_load(exporter.config_path.read_text())
    config["hooks"] = {"enabled": True}
    config["collectors"]["gitlab"] |= {"hooks": {"secret": SECRET}, **gitlab}
    exporter.write_config(config)
    return exporter


def hooks_of(exporter: ExporterProcess) -> dict[str, float]:
    """``result -> hooks`` as a scrape shows them."""
    wanted = 'ci_exporter_hooks_received_total{collector="gitlab",result="'
    lines = [line for line in exporter.scrape().splitlines() if line.startswith(wanted)]
    return {line.removeprefix(wanted).partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


def order_hooks(standin: StandIn, exporter: ExporterProcess, **orders: Any) -> None:
    standin.action("hooks", url=f"{exporter.url}/hooks/gitlab", secret=SECRET, **orders)


def live(standin: StandIn, chance: random.Random, turns: int) -> None:
    """Let pipelines begin and end, a little at a time."""
    projects = watched_projects(standin)
    for _ in range(turns):
        standin.action("new_pipeline", project=chance.choice(projects), story=chance.choice(STORIES))
        for _ in range(chance.randrange(1, 6)):
            standin.advance(chance.choice((2, 15, 60)))


def all_answered(standin: StandIn) -> None:
    wait_until(lambda: standin.hooks()["waiting"] == 0, "every hook is answered")


def test_lost_doubled_late_and_shuffled_hooks_beside_polls_and_kills_leave_the_totals_true(
    start_standin: StartStandIn, make_exporter: MakeExporter
) -> None:
    chance = random.Random(7)
    standin = start_standin(projects=6, seed=3)
    exporter = with_hooks(make_exporter(standin, backfill_days=2)).start().wait_ready()
    order_hooks(standin, exporter, lose=0.2, double=0.2, late=90, seed=7)
    for _ in range(3):
        live(standin, chance, 12)
        exporter.kill()
        live(standin, chance, 2)  # the hooks of what happens now are lost as well
        exporter.start().wait_ready()
    live(standin, chance, 10)
    for _ in range(60):
        standin.advance(120)
    all_answered(standin)
    assert_totals_come_true(standin, exporter)
    counts = hooks_of(exporter)
    assert counts["accepted"] > 50
    assert counts["duplicate"] > 5
    assert counts["refused"] == counts["failed"] == counts["rejected"] == 0


def test_hooks_alone_bring_the_news_while_polls_are_far_away(
    start_standin: StartStandIn, make_exporter: MakeExporter
) -> None:
    standin = start_standin(projects=4, seed=5)
    rare = {"poll_interval_seconds": 3600, "poll_interval_max_seconds": 3600}
    exporter = with_hooks(make_exporter(standin, backfill_days=1), **rare).start().wait_ready()
    order_hooks(standin, exporter)
    project = watched_projects(standin)[0]
    before = standin.requests()["total"]
    standin.action("new_pipeline", project=project, story="normal")
    for _ in range(30):
        standin.advance(120)
    all_answered(standin)

    def shown() -> bool:
        lines = exporter.scrape().splitlines()
        return any(
            line.startswith("ci_pipeline_runs_total{")
            and 'status="success"' in line
            and line.endswith(" 1.0")
            for line in lines
        )

    wait_until(shown, "the pipeline is counted")
    # A push announces a pipeline, for which the project is polled; all that follows is in the hooks.
    assert standin.requests()["total"] - before < 40
