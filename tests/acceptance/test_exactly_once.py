"""Killed at any moment, started again: the totals equal the truth."""

from __future__ import annotations

import random

from collectors.gitlab.standin.client import StandIn
from tests.acceptance.conftest import MakeExporter, StartStandIn
from tests.support.process import SOON, ExporterProcess, wait_until
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs

# Stories in which no pipeline id is executed twice while nobody looks: what GitLab has overwritten by
# the time we ask again, no exporter can know.
STORIES = (
    "normal",
    "failing",
    "auto_retry",
    "cancel_pending",
    "cancel_running",
    "ci_skip",
    "yaml_error",
    "parent_child",
    "outliving_child",
)
KILLS = 20


def watched_projects(standin: StandIn) -> list[int]:
    """Ids of the projects that the exporter of these tests watches and that can have pipelines."""
    listed = standin.get("/groups/acme/projects?include_subgroups=true&per_page=100")[1]
    return [entry["id"] for entry in listed if entry["jobs_enabled"] and not entry["archived"]]


def _come_to_rest(standin: StandIn) -> None:
    """Let everything that was started end."""
    for _ in range(60):
        standin.advance(120)


def _totals_are_true(standin: StandIn, exporter: ExporterProcess) -> bool:
    truth, text = standin.truth(), exporter.scrape()
    return not difference(expected_runs(truth), counted_runs(text)) and not difference(
        expected_jobs(truth), counted_jobs(text)
    )


def _explain(standin: StandIn, exporter: ExporterProcess) -> str:
    truth, text = standin.truth(), exporter.scrape()
    runs = difference(expected_runs(truth), counted_runs(text))
    jobs = difference(expected_jobs(truth), counted_jobs(text))
    return f"(expected, counted): runs {runs}, jobs {jobs}"


def assert_totals_come_true(standin: StandIn, exporter: ExporterProcess) -> None:
    """Wait until the totals equal the truth; they must stay so."""
    try:
        wait_until(lambda: _totals_are_true(standin, exporter), "totals equal the truth")
    except AssertionError:
        raise AssertionError(_explain(standin, exporter)) from None
    polls = standin.requests()["total"]
    wait_until(lambda: standin.requests()["total"] > polls + 20, "some more polls")
    assert _totals_are_true(standin, exporter), _explain(standin, exporter)


def test_killed_twenty_times_during_backfill_and_rounds(
    start_standin: StartStandIn, make_exporter: MakeExporter
) -> None:
    chance = random.Random(20)
    standin = start_standin(projects=12, history_days=3, history_pipelines=400, latency_ms=3, seed=5)
    projects = watched_projects(standin)
    exporter = make_exporter(standin, backfill_days=4)
    for kill in range(KILLS):
        exporter.start()
        if kill < KILLS // 2:
            # Somewhere in the first history, which takes several lives to read.
            before = standin.requests()["total"]
            goal = before + chance.randint(1, 150)
            wait_until(lambda: standin.requests()["total"] >= goal, "some calls")  # noqa: B023
        else:
            exporter.wait_ready()
            for _ in range(3):
                for _ in range(2):
                    standin.action(
                        "new_pipeline", project=chance.choice(projects), story=chance.choice(STORIES)
                    )
                standin.advance(chance.choice((5, 20, 60)))
            goal = standin.requests()["total"] + chance.randint(1, 60)
            wait_until(lambda: standin.requests()["total"] >= goal, "some calls")  # noqa: B023
        exporter.kill()
        # Time goes on while nobody looks.
        standin.action("new_pipeline", project=chance.choice(projects), story=chance.choice(STORIES))
        standin.advance(chance.choice((5, 60, 300)))
    _come_to_rest(standin)
    exporter.start().wait_ready()
    assert_totals_come_true(standin, exporter)


def test_terminated_with_polls_in_flight(start_standin: StartStandIn, make_exporter: MakeExporter) -> None:
    standin = start_standin(projects=8, history_days=2, history_pipelines=300, latency_ms=20)
    exporter = make_exporter(standin, backfill_days=3)
    for _ in range(3):
        exporter.start()
        goal = standin.requests()["total"] + 60
        wait_until(lambda: standin.requests()["total"] >= goal, "some calls")  # noqa: B023
        assert exporter.terminate(SOON) == 0
    exporter.start().wait_ready()
    assert_totals_come_true(standin, exporter)
