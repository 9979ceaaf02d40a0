"""Hooks and polls race on the same runs, and every execution counts once all the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from exporter.hooks import Hook
from tests.collectors.gitlab.test_exactly_once import (
    SINCE,
    distributions,
    expected_distributions,
    jobs_that_ran,
    settle,
    truth_of,
)
from tests.support.harness import Lab
from tests.support.truth import counted_runs, difference, expected_jobs, expected_runs

# Smaller tests go through the same code once; measuring all of it again would double the time.
pytestmark = pytest.mark.no_cover
WORLD = {"projects": 3, "pipelines_per_hour": 120}
Letters = list[dict[str, Any]]


def deliver(lab: Lab, letters: Letters) -> set[str]:
    """Have the rounds hear hooks; returns the keys of the projects that they want polled."""
    exporter, wanted = lab.exporter, set()
    for letter in letters:
        headers = {name.lower(): value for name, value in letter["headers"].items()}
        for news in exporter.collector.read_hook(Hook(headers, letter["body"].encode(), lab.clock.now())):
            if exporter.rounds.receive(news.unit, news.batch):
                wanted.add(news.unit.key)
    return wanted


def poll(lab: Lab, keys: set[str]) -> None:
    for state in lab.exporter.rounds.states():
        if state.stored.unit.key in keys:
            lab.exporter.rounds.visit(state)


def assert_totals(lab: Lab) -> None:
    """Totals, durations, and waits of jobs equal the truth; of a pipeline's wait hooks know whole seconds."""
    truth, text = truth_of(lab), lab.exporter.text
    assert difference(expected_runs(truth, SINCE), counted_runs(text)) == {}
    assert difference(expected_jobs(truth, SINCE), jobs_that_ran(lab.exporter)) == {}
    for measure in ("duration", "queue"):
        family = f"ci_job_run_{'queue_duration' if measure == 'queue' else measure}_seconds"
        assert distributions(text, family, "stage job") == expected_distributions(truth, "job", measure)
    durations = distributions(text, "ci_pipeline_run_duration_seconds", "ref_kind source")
    assert durations == expected_distributions(truth, "pipeline", "duration")
    waits = distributions(text, "ci_pipeline_run_queue_duration_seconds", "ref_kind source")
    assert_close(waits, expected_distributions(truth, "pipeline", "queue"))


def assert_close(
    found: Mapping[tuple[str, ...], tuple[int, float]], wanted: Mapping[tuple[str, ...], tuple[int, float]]
) -> None:
    assert found.keys() == wanted.keys()
    for key, (count, total) in wanted.items():
        assert found[key][0] == count
        assert total - count <= found[key][1] <= total + 0.001


@pytest.mark.parametrize(("seed", "lost", "polls"), [(1, 0.3, 1.0), (2, 0.0, 0.15)])
def test_hooks_that_are_lost_doubled_late_and_shuffled_race_with_polls(
    lab_of: Callable[..., Lab], seed: int, lost: float, polls: float
) -> None:
    """Where hooks get lost, polls are frequent: an end that neither sees before the next one is lost, too."""
    lab = lab_of({**WORLD, "seed": seed})
    chance = random.Random(seed)
    lab.act("hooks", lose=lost, double=0.2, late=120, seed=seed)
    waiting: Letters = []
    for _ in range(25):
        lab.advance(chance.uniform(5, 40))
        waiting += lab.server.take_hooks()
        chance.shuffle(waiting)
        wanted = deliver(lab, [waiting.pop() for _ in range(chance.randrange(len(waiting) + 1))])
        if chance.random() < 0.5:
            poll(lab, wanted)
        if chance.random() < polls:
            lab.exporter.poll()
        if chance.random() < 0.1:
            lab.restart()
    settle(lab)
    deliver(lab, waiting + lab.server.take_hooks())  # the very last ones tell nothing new
    lab.run(60)
    assert_totals(lab)


def test_hooks_alone_count_what_polls_would(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of({**WORLD, "seed": 9})
    lab.exporter.poll()
    lab.act("hooks")
    lab.calls()
    for _ in range(20):
        lab.advance(30)
        wanted = deliver(lab, lab.server.take_hooks())
        poll(lab, wanted)
    lab.act("pause")
    for _ in range(25):
        lab.advance(120)
        poll(lab, deliver(lab, lab.server.take_hooks()))
    assert_totals(lab)
