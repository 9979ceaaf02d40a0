"""Every report counts once: whole worlds against their own records."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from exporter.contract import Batch
from tests.support.harness import Exporter, ReportsLab
from tests.support.truth import (
    counted_reports,
    counted_suites,
    counted_tests,
    difference,
    expected_reports,
    expected_suites,
    expected_tests,
)

# Smaller tests go through the same code once; measuring all of it again would double the time.
pytestmark = pytest.mark.no_cover

Make = Callable[..., ReportsLab]
# Somebody who runs jobs again within seconds replaces a report that nobody could read yet, and what is
# deleted can be read no more: both have tests of their own.
WORLD = {
    "projects": 3,
    "pipelines_per_hour": 200,
    "stories": {"retry_pipeline": 0, "deleted": 0, "failing": 40, "manual": 12, "parent_child": 12},
}
EVERYTHING = {"refs": {"branches": {"regexp": ".*"}}, "cases": {"enabled": True}}
FAULTS: tuple[Mapping[str, Any], ...] = (
    {"kind": "status", "status": 429, "retry_after": 0, "probability": 0.1},
    {"kind": "status", "status": 500, "probability": 0.3},
    {"kind": "cut", "probability": 0.2},
    {"kind": "truncated_json", "probability": 0.2},
    {"kind": "wrong_shape", "shape": "object", "probability": 0.2},
    {"kind": "wrong_shape", "shape": "string_ids", "probability": 0.2},
    {"kind": "wrong_shape", "shape": "null", "path": "/test_report", "probability": 0.5},
    {"kind": "status", "status": 502, "path": "/test_report", "probability": 0.8},
    {"kind": "html", "probability": 0.1},
    {"kind": "drop", "probability": 0.2},
)


def settle(lab: ReportsLab) -> None:
    """Let everything under way end, and the exporter see it, without faults."""
    lab.server.faults()
    lab.act("pause")
    lab.run(4_000, 500, tries=4)


def assert_totals(lab: ReportsLab) -> None:
    reports = [one for one in lab.server.test_reports() if one["project"].startswith("acme/")]
    text = lab.exporter.text
    assert sum(expected_tests(reports).values()) > 1_000
    assert difference(expected_tests(reports), counted_tests(text)) == {}
    assert difference(expected_suites(reports), counted_suites(text)) == {}
    assert difference(expected_reports(reports), counted_reports(text)) == {}
    counted = sum(counted_reports(text).values())
    assert lab.exporter.value("ci_test_report_duration_seconds_count") == counted


@pytest.mark.parametrize("seed", [3, 17])
def test_faults_and_restarts_lose_and_double_nothing(reports_of: Make, seed: int) -> None:
    chance = random.Random(seed)
    lab = reports_of({**WORLD, "seed": seed}, **EVERYTHING)
    for _ in range(20):
        lab.server.faults(*chance.sample(FAULTS, chance.randrange(3)))
        lab.advance(chance.choice((10, 40, 90)))
        lab.exporter.poll(tries=chance.choice((1, 2)))
        if chance.random() < 0.2:
            lab.server.faults()
            lab.restart()
    settle(lab)
    assert_totals(lab)


def test_two_processes_at_once_count_nothing_twice(reports_of: Make) -> None:
    lab = reports_of({**WORLD, "seed": 5})
    others: list[Exporter] = [lab.exporter, lab.start()]
    for _ in range(8):
        lab.advance(100)
        threads = [threading.Thread(target=one.poll) for one in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    settle(lab)
    lab.exporter.rounds.follow()
    assert_totals(lab)


def test_a_cursor_that_cannot_be_read_counts_nothing_twice(reports_of: Make) -> None:
    lab = reports_of({**WORLD, "projects": 2, "seed": 9})
    lab.run(700, 100)
    for state in lab.exporter.rounds.states():
        _break_cursor(lab.exporter, state.stored.id)
    lab.run(700, 100)
    settle(lab)
    assert_totals(lab)


def _break_cursor(exporter: Exporter, unit_id: int) -> None:
    exporter.store.save(unit_id, Batch(cursor='{"updated_at": 7'), exporter.clock.now())
