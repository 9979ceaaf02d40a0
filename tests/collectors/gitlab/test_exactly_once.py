"""Every finished execution counts once: whole worlds against their own records."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.harness import START, Exporter, Lab
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs

# Smaller tests go through the same code once; measuring all of it again would double the time.
pytestmark = pytest.mark.no_cover

SINCE = datetime.fromisoformat(START)
WORLD = {"projects": 6, "pipelines_per_hour": 240}
FAULTS: tuple[Mapping[str, Any], ...] = (
    {"kind": "status", "status": 429, "retry_after": 0, "probability": 0.1},
    {"kind": "status", "status": 500, "probability": 0.2},
    {"kind": "status", "status": 502, "probability": 0.4},
    {"kind": "cut", "probability": 0.2},
    {"kind": "truncated_json", "probability": 0.2},
    {"kind": "wrong_shape", "shape": "object", "probability": 0.1},
    {"kind": "wrong_shape", "shape": "string_ids", "probability": 0.2},
    {"kind": "wrong_shape", "shape": "null", "path": "/(jobs|bridges)", "probability": 0.3},
    {"kind": "html", "probability": 0.1},
    {"kind": "same_page", "path": "[?&]page=[2-9]", "probability": 0.5},
    {"kind": "drop", "probability": 0.2},
)


def settle(lab: Lab) -> None:
    """Let everything under way end, and the exporter see it, without faults."""
    lab.server.faults()
    lab.act("pause")
    lab.run(3_000, 200, tries=4)


def truth_of(lab: Lab) -> dict[str, Any]:
    """The stand-in's records, without what nobody could see.

    A pipeline that was deleted may be gone before anyone saw its end. GitLab gives no time for a skipped
    job, so one that is skipped, reset by a retry and skipped again cannot be told from one skipped once.
    """
    truth = lab.server.truth(past=False)
    truth["executions"] = [
        entry
        for entry in truth["executions"]
        if str(entry["pipeline_id"]) not in truth["deleted_pipelines"]
        and not (entry["kind"] == "job" and entry["status"] == "skipped")
    ]
    return truth


def jobs_that_ran(exporter: Exporter) -> Counter[tuple[str, ...]]:
    """Counted jobs without the skipped ones."""
    return Counter({key: n for key, n in counted_jobs(exporter.text).items() if key[3] != "skipped"})


def assert_totals(lab: Lab) -> None:
    """Totals, and all four histograms, equal the truth."""
    truth = truth_of(lab)
    text = lab.exporter.text
    assert difference(expected_runs(truth, SINCE), counted_runs(text)) == {}
    assert difference(expected_jobs(truth, SINCE), jobs_that_ran(lab.exporter)) == {}
    for kind, names in (("pipeline", ("pipeline_run", "ref_kind source")), ("job", ("job_run", "stage job"))):
        for measure in ("duration", "queue"):
            family = f"ci_{names[0]}_{'queue_duration' if measure == 'queue' else measure}_seconds"
            assert distributions(text, family, names[1]) == expected_distributions(truth, kind, measure), (
                family
            )


def distributions(text: str, family: str, labels: str) -> dict[tuple[str, ...], tuple[int, float]]:
    """``labels -> (count, sum)``."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for metric in text_string_to_metric_families(text):
        for sample in metric.samples if metric.name == family else ():
            key = tuple(sample.labels[name] for name in ("project", *labels.split()))
            if "le" not in sample.labels:
                found.setdefault(key, {})[sample.name.rpartition("_")[2]] = sample.value
    return {key: (int(one["count"]), round(one["sum"], 3)) for key, one in found.items()}


def expected_distributions(
    truth: Mapping[str, Any], kind: str, measure: str
) -> dict[tuple[str, ...], tuple[int, float]]:
    """``labels -> (count, sum)`` of what the stand-in wrote down."""
    keys = ("project", "ref_kind", "source") if kind == "pipeline" else ("project", "stage", "name")
    found: dict[tuple[str, ...], list[float]] = {}
    for entry in truth["executions"]:
        value = entry[f"{measure}_seconds"]
        if entry["kind"] == kind and entry["status"] != "skipped" and value is not None:
            found.setdefault(tuple(entry[key] for key in keys), []).append(value)
    return {key: (len(values), round(sum(values), 3)) for key, values in found.items()}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_world_of_all_stories_is_counted_as_it_happened(lab_of: Callable[..., Lab], seed: int) -> None:
    lab = lab_of({**WORLD, "seed": seed})
    chance = random.Random(seed)
    for _ in range(40):
        lab.advance(chance.uniform(5, 40))
        lab.exporter.poll()
    settle(lab)
    assert_totals(lab)


@pytest.mark.parametrize("seed", [4, 5])
def test_faults_cost_nothing(lab_of: Callable[..., Lab], seed: int) -> None:
    lab = lab_of({**WORLD, "seed": seed}, per_page=3)
    chance = random.Random(seed)
    for _ in range(40):
        lab.server.faults(*chance.sample(FAULTS, 2) if chance.random() < 0.7 else ())
        lab.advance(chance.uniform(5, 40))
        lab.exporter.poll()
    settle(lab)
    assert_totals(lab)


def test_restarts_at_any_moment_cost_nothing(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of({**WORLD, "seed": 6})
    chance = random.Random(6)
    for _ in range(40):
        lab.advance(chance.uniform(5, 40))
        if chance.random() < 0.4:
            # Killed in the middle of a poll: the source answers no more after some calls.
            lab.server.faults({"kind": "drop", "skip": chance.randrange(60)})
            lab.exporter.poll()
            lab.server.faults()
            lab.restart()
        lab.exporter.poll()
    settle(lab)
    assert_totals(lab)


def test_two_exporters_on_one_store_count_together(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of({**WORLD, "seed": 7, "pipelines_per_hour": 160})
    other = lab.start()
    chance = random.Random(7)
    for _ in range(25):
        lab.advance(chance.uniform(5, 40))
        threads = [threading.Thread(target=one.poll) for one in (lab.exporter, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    settle(lab)
    lab.exporter.rounds.follow()
    assert_totals(lab)


def test_projects_that_come_go_and_move_are_counted(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of({**WORLD, "seed": 8, "changes_per_hour": 120}, rediscover_interval_seconds=60)
    chance = random.Random(8)
    for step in range(40):
        lab.advance(chance.uniform(5, 40))
        if step % 4 == 0:
            lab.exporter.discover()
        lab.exporter.poll()
    settle(lab)
    lab.exporter.discover()
    lab.run(60)
    counted = by_project_id(lab, counted_runs(lab.exporter.text))
    truth = lab.server.truth(past=False)
    gone = truth["deleted_pipelines"]
    at_least = Counter(
        (str(entry["project_id"]), entry["status"])
        for entry in truth["executions"]
        if entry["kind"] == "pipeline" and str(entry["pipeline_id"]) not in gone
    )
    at_most = Counter(
        (str(entry["project_id"]), entry["status"])
        for entry in truth["executions"]
        if entry["kind"] == "pipeline" and str(entry["project_id"]) not in truth["deleted_projects"]
    )
    assert {key: n for key, n in at_least.items() if counted[key] < n} == {}
    assert {key: n for key, n in counted.items() if n > at_most[key]} == {}


def by_project_id(lab: Lab, totals: Counter[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """``(project id, status) -> runs``: paths change."""
    ids = {state.stored.unit.name: state.stored.unit.key for state in lab.exporter.rounds.states()}
    found: Counter[tuple[str, ...]] = Counter()
    for (project, _, _, status), count in totals.items():
        found[ids[project], status] += count
    return found
