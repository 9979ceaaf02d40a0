"""Totals of builds and stages equal the truth, whatever happens to jobs, network and process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from collectors._standin.times import HOUR, parse
from collectors.jenkins.standin.client import StandIn
from exporter.rounds.backfill import backfill
from tests.support.harness import PROJECT, START, Lab
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs

Make = Callable[..., Lab]
FAULTS = ("cut", "truncated_json", "drop", "html")


def agrees(lab: Lab) -> None:
    truth = lab.server.truth()
    assert difference(expected_runs(truth), counted_runs(lab.exporter.text)) == {}
    assert difference(expected_jobs(truth), counted_jobs(lab.exporter.text)) == {}


@pytest.mark.parametrize("kind", ["multibranch", "pipeline"])
def test_builds_that_pass_unseen_between_two_polls_are_counted(lab_of: Make, kind: str) -> None:
    lab = lab_of(kind=kind)
    lab.exporter.poll()
    for _ in range(7):
        lab.pipeline(story="failing", ref="main")
        lab.pipeline(ref="feature/x")
        lab.advance(120)
    lab.exporter.poll()
    agrees(lab)
    assert sum(counted_runs(lab.exporter.text).values()) == 14


def test_faults_and_restarts_lose_and_double_nothing(lab: Lab) -> None:
    for kind in FAULTS:
        for ref in ("main", "release/1.2", "PR-7"):
            lab.pipeline(story="failing", ref=ref)
        lab.server.faults({"kind": kind, "probability": 0.4})
        lab.run(90, 30)
        lab.restart()
    lab.server.faults()
    lab.run(300, 30)
    agrees(lab)


def test_builds_at_the_same_time_finish_in_any_order(lab_of: Make) -> None:
    lab = lab_of(kind="pipeline")
    lab.exporter.poll()
    for seconds in (500, 40, 300, 20, 100):
        lab.pipeline({"name": "build", "seconds": seconds})
        lab.run(15, 15)
    assert lab.exporter.value("ci_pipeline_runs_active", project=PROJECT, status="running") == 3
    lab.run(600, 30)
    agrees(lab)
    assert lab.exporter.value("ci_pipeline_runs_active", project=PROJECT, status="running") is None


def test_discarded_builds_lower_nothing(lab: Lab) -> None:
    for _ in range(5):
        lab.pipeline()
        lab.run(60, 30)
    before = lab.exporter.text
    lab.act("discard", project=PROJECT, keep=1)
    lab.run(60, 30)
    assert lab.exporter.text == before
    lab.pipeline()
    lab.run(60, 30)
    agrees(lab)


def test_a_build_that_was_deleted_while_it_ran_is_no_longer_active(lab: Lab) -> None:
    lab.pipeline({"name": "build", "seconds": 600})
    lab.run(30)
    assert lab.exporter.value("ci_pipeline_runs_active", project=PROJECT) == 1
    lab.act("discard", project=PROJECT)
    lab.run(30)
    assert lab.exporter.value("ci_pipeline_runs_active", project=PROJECT) is None


@pytest.mark.parametrize("builds_before", [1, 2, 4])
@pytest.mark.parametrize("kind", ["multibranch", "pipeline"])
def test_a_job_made_anew_counts_on_with_its_new_builds(lab_of: Make, kind: str, builds_before: int) -> None:
    lab = lab_of(kind=kind)
    lab.exporter.poll()
    for _ in range(builds_before):
        lab.pipeline()
        lab.run(60, 30)
    lab.act("recreate", project=PROJECT)
    lab.run(30)
    for _ in range(2):
        lab.pipeline(story="failing")
        lab.run(120, 30)
    lab.pipeline({"name": "build", "seconds": 600})
    lab.run(30)
    number = lab.exporter.value("ci_pipeline_last_run_id", ref="main", project=PROJECT)
    assert number is not None
    assert int(number) & 0xFFFFF == 3
    lab.run(660, 60)
    agrees(lab)


def test_a_job_made_anew_that_is_further_than_before_counts_all_of_its_builds(lab: Lab) -> None:
    lab.pipeline()
    lab.run(60, 30)
    lab.act("recreate", project=PROJECT)
    for _ in range(4):
        lab.pipeline()
        lab.advance(60)
    lab.exporter.poll()
    agrees(lab)


def test_a_newest_build_that_somebody_deletes_is_no_new_job(lab: Lab) -> None:
    ids = []
    for _ in range(3):
        ids.append(lab.pipeline())
        lab.run(60, 30)
    lab.act("delete_run", project=PROJECT, pipeline_id=ids[-1])
    lab.run(30)
    assert int(lab.exporter.value("ci_pipeline_last_run_id", ref="main") or 0) & 0xFFFFF == 2
    lab.pipeline()
    lab.run(60, 30)
    agrees(lab)
    assert int(lab.exporter.value("ci_pipeline_last_run_id", ref="main") or 0) & 0xFFFFF == 4


def test_more_builds_than_a_batch_takes_come_in_several(lab: Lab) -> None:
    for _ in range(130):
        lab.pipeline()
        lab.advance(40)
    lab.calls()
    visits = lab.exporter.poll()
    assert len(visits) == 3
    assert lab.calls() == {
        "GET /api/json": 1,
        # What sort of ref the branch is; that there is more than a page of builds; two pages, oldest first.
        "GET /job/:job/api/json": 4,
        "GET /job/:job/:number/wfapi": 130,
    }
    agrees(lab)


def deep(server: StandIn) -> None:
    """A job with 160 builds, and one with 15 branches of 4 builds each; all of them are over."""
    server.action("create_project", path="acme/deep", kind="pipeline")
    jobs = [{"name": "build", "seconds": 10}]
    builds = [{"project": "acme/deep"}] * 40 + [{"project": PROJECT, "ref": f"b-{n}"} for n in range(15)]
    for _ in range(4):
        actions = [{"action": "new_pipeline", "jobs": jobs, **build} for build in builds]
        server.action("batch", actions=actions)
        server.advance(600)
    server.advance(3600)


def test_a_first_history_that_is_killed_after_each_portion_goes_on_where_it_was(lab_of: Make) -> None:
    lab = lab_of(world={"start": parse(START) - 6 * HOUR}, before=deep, backfill_days=1)
    reading, portions = True, 0
    while reading:
        waits = []
        for key in ("acme/deep", PROJECT):
            lab.restart()
            lab.calls()
            visit = lab.exporter.rounds.visit(lab.exporter.rounds.state(key))
            calls = lab.calls()
            assert visit
            assert calls.get("GET /job/:job/:number/wfapi", 0) <= 50
            assert sum(calls.values()) <= 50 + 22  # lists of builds, one look, and the sorts of refs
            waits.append(visit.wait)
        reading, portions = not all(waits), portions + 1
    assert portions >= 4
    agrees(lab)
    assert sum(counted_runs(lab.exporter.text).values()) == 220


def test_a_build_whose_stages_cannot_be_read_waits_for_them_and_holds_up_no_other(lab: Lab) -> None:
    lab.server.faults({"kind": "status", "status": 500, "path": "/main/1/wfapi"})
    lab.pipeline()
    lab.advance(60)
    lab.pipeline(ref="other")
    lab.pipeline()
    lab.run(90, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 2
    lab.server.faults()
    lab.run(30)
    agrees(lab)


def test_a_build_whose_stages_can_never_be_read_is_counted_without_them(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.server.faults({"kind": "status", "status": 500, "path": "wfapi"})
    lab.pipeline()
    lab.run(270, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 0
    lab.run(90, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 1
    assert sum(counted_jobs(lab.exporter.text).values()) == 0
    details = [getattr(record, "detail", "") for record in caplog.records]
    assert any("the stages of build 1 of acme/p/main cannot be read" in detail for detail in details)


@pytest.mark.parametrize("closing_ms", [1_000, 20_000, 45_000])
def test_a_build_that_is_over_before_its_duration_is_known_counts_once(lab_of: Make, closing_ms: int) -> None:
    lab = lab_of(site={"closing_ms": closing_ms})
    lab.exporter.poll()
    for seconds in (30, 43, 50):
        lab.pipeline({"name": "build", "seconds": seconds})
        lab.run(120, 7)
    lab.run(120, 7)
    agrees(lab)
    assert lab.exporter.value("ci_pipeline_run_duration_seconds_sum", project=PROJECT) == 123 + 3 * 2


def test_a_build_that_never_gets_a_duration_counts_once_all_the_same(lab: Lab) -> None:
    run = lab.pipeline({"name": "build", "seconds": 30})
    lab.act("cut_off", pipeline_id=run)
    lab.run(60, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 0
    lab.run(120, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 1
    lab.restart()
    lab.run(180, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 1


def past(lab_of: Make, **block: object) -> Lab:
    """A lab that begins when 120 builds are over."""
    return lab_of(world={"start": parse(START) - 6 * HOUR}, before=_a_day_of_work, **block)


def _a_day_of_work(server: StandIn) -> None:
    for _ in range(30):
        run = {"action": "new_pipeline", "project": PROJECT, "story": "failing"}
        server.action("batch", actions=[{**run, "ref": ref} for ref in ("main", "feature/x") * 2])
        server.advance(480)
    server.advance(2 * 3600)


def test_a_first_poll_counts_the_days_of_history_that_are_wanted(lab_of: Make) -> None:
    lab = past(lab_of, backfill_days=1)
    lab.exporter.poll()
    agrees(lab)
    assert sum(counted_runs(lab.exporter.text).values()) == 120


def test_a_first_poll_reads_no_history_unless_it_is_wanted(lab_of: Make) -> None:
    lab = past(lab_of)
    lab.calls()
    lab.exporter.poll()
    assert sum(counted_runs(lab.exporter.text).values()) == 0
    assert lab.exporter.value("ci_pipeline_status", ref="main", status="failed") == 1
    assert lab.calls() == {"GET /job/:job/api/json": 1}  # what sort of refs its branches are


@pytest.mark.parametrize("days", [0, 1])
def test_a_backfill_reads_all_that_ended_in_its_window_and_counts_nothing_twice(
    lab_of: Make, days: int
) -> None:
    lab = past(lab_of, backfill_days=days)
    lab.exporter.poll()
    now = lab.clock.now()
    found = [
        backfill(
            lab.exporter.collector,
            lab.exporter.store,
            start=now - timedelta(days=7),
            end=now,
            capacity=2,
            report=lambda _: None,
        )
        for _ in range(2)
    ]
    # Without history, all but the newest build of each branch was still to be read, with three stages each.
    new = 0 if days else 118 * 4
    assert [(one.runs, one.counted, one.failed) for one in found] == [(new, 0, 0), (0, 0, 0)]
    lab.exporter.rounds.follow()
    assert sum(counted_runs(lab.exporter.text).values()) == (120 if days else 0)
