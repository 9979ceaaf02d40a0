"""Rules about runs and jobs: what starts an alert, what ends it, and what people read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from exporter.contract import Unit
from exporter.model.runs import Execution, Status
from exporter.store.sql import SqlStore
from exporter.store.tables import facts
from tests.support.lookout import START, Lookout, job

Watch = Callable[..., Lookout]
BROKEN = "firing: acme/app: main is broken"
MENDED = "resolved: acme/app: main works again"


@pytest.fixture
def watch(open_store: Callable[[], SqlStore]) -> Watch:
    """Begins to watch."""
    return lambda *rules, **settings: Lookout(open_store, *rules, **settings)


# -- branch_broken -------------------------------------------------------------------------------


def test_a_broken_default_branch_is_told_once_and_its_recovery_once(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    lookout.run("success")
    lookout.run("failed")
    lookout.wait()
    assert lookout.told() == [BROKEN]
    assert lookout.active() == {"rule": 1}
    for _ in range(10):
        lookout.run("failed")
        lookout.wait(30)
    assert lookout.told() == []
    lookout.run("success")
    lookout.wait()
    assert lookout.told() == [MENDED]
    assert lookout.active() == {"rule": 0}
    lookout.run("success")
    lookout.wait(60)
    assert lookout.told() == []


def test_with_channels_alone_default_branches_are_watched(watch: Watch) -> None:
    lookout = watch()
    lookout.run("failed")
    lookout.wait()
    assert lookout.told() == [BROKEN]


def test_the_message_says_what_is_needed_to_act(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    lookout.run("success")
    lookout.wait(600)
    lookout.run("failed", job("unit"), job("flaky", allow_failure=True), job("lint", "success"))
    lookout.wait(7200, step=600)
    lookout.run("failed", job("unit"), job("build", failure_reason="runner_system_failure"))
    lookout.wait()
    (message,) = lookout.messages()
    assert message.body.splitlines() == [
        "Commit: 01234567 Fix it",
        "By: ada",
        "Run: 2, failed, started by push",
        "https://forge/runs/2",
        "Failed jobs:",
        "- test / unit: script_failure https://forge/jobs/unit",
        "Broken for 10 min, since 2026-03-04 12:10",
        "Last good run: 1, ended 2026-03-04 12:00 https://forge/runs/1",
    ]
    (alert,) = message.alerts
    assert alert.url == "https://forge/runs/2"
    assert alert.labels == {
        "provider": "forge",
        "project": "acme/app",
        "pipeline": "",
        "ref": "main",
        "ref_kind": "branch",
    }
    lookout.run("success", commit_title="Mend it", username="bob")
    lookout.wait()
    (message,) = lookout.messages()
    assert message.body.splitlines() == [
        "It was so for 2 h.",
        "Mended by run 4 of bob: Mend it https://forge/runs/4",
        "Before, run 3 had failed: unit, build",
    ]


def test_how_long_it_is_broken_counts_from_the_first_failure_that_is_stored(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    lookout.run("failed", batch={"history": True})
    lookout.wait(3600, step=600)
    lookout.run("failed")
    lookout.wait()
    (message,) = lookout.messages()
    assert "Broken for 1 h, since 2026-03-04 12:00" in message.body
    assert "Last good run: none known" in message.body


@pytest.mark.parametrize(
    "facts",
    [
        {"ref": "feature"},
        {"ref_kind": "tag"},
        {"source": "parent_pipeline"},
        {"status": "canceled"},
        {"batch": {"history": True}},
    ],
    ids=str,
)
def test_other_runs_break_no_default_branch(watch: Watch, facts: dict[str, Any]) -> None:
    lookout = watch({"kind": "branch_broken"})
    lookout.run(**{"status": "failed"} | facts)
    lookout.wait(60)
    assert lookout.told() == []


def test_an_older_run_that_ends_later_says_nothing_about_the_branch(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    lookout.run("running", run_id=1)
    lookout.run("success", run_id=2)
    lookout.step()
    lookout.run("failed", run_id=1)
    lookout.wait()
    assert lookout.told() == []
    lookout.run("running", run_id=3)
    lookout.run("failed", run_id=4)
    lookout.wait()
    lookout.run("success", run_id=3)
    lookout.wait()
    assert lookout.told() == [BROKEN]


def test_a_child_that_succeeds_does_not_hide_that_its_parent_failed(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    lookout.run("running", run_id=1)
    lookout.run("success", run_id=2, source="parent_pipeline")
    lookout.run("failed", run_id=1)
    lookout.wait()
    assert lookout.told() == [BROKEN]


def test_a_retry_that_succeeds_mends_the_branch_and_one_that_is_on_its_way_does_not(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    number = lookout.run("failed")
    lookout.wait()
    lookout.run("running", run_id=number)
    lookout.wait()
    assert lookout.told() == [BROKEN]
    lookout.run("success", run_id=number)
    lookout.wait()
    assert lookout.told() == [MENDED]


def test_a_failure_and_its_retry_between_two_polls_alert_nobody(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    failed = Execution(Status.FAILED, START + timedelta(seconds=30), 20.0)
    lookout.clock.advance(60)
    lookout.run("success", earlier=failed)
    lookout.wait()
    assert lookout.told() == []


def test_named_refs_take_the_place_of_the_default_branch(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken", "refs": ["release/*", "!release/old"]})
    for ref in ("main", "release/1", "release/old"):
        lookout.run("failed", ref=ref)
    lookout.wait()
    assert lookout.told() == ["firing: acme/app: release/1 is broken"]


def test_what_is_gone_ends_silently(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken", "refs": ["*"]})
    lookout.project("acme/lib")
    lookout.project("acme/old")
    lookout.run("failed", project="acme/lib")
    deleted = lookout.run("failed", ref="a")
    lookout.run("failed", ref="b")
    lookout.run("failed", project="acme/old", ref="c")
    lookout.wait()
    assert len(lookout.told()) == 1
    lookout.save("acme/app", deleted_runs=(deleted,))
    from exporter.model.runs import RefKind

    lookout.save("acme/app", refs={RefKind.BRANCH: frozenset({"main"})}, refs_read_at=lookout.now)
    lookout.forget("acme/old")
    lookout.wait(120)
    assert lookout.told() == []
    assert lookout.active() == {"rule": 1}


def test_a_branch_that_broke_long_ago_while_nobody_watched_is_told_if_it_is_broken_still(
    watch: Watch,
) -> None:
    lookout = watch({"kind": "branch_broken"}, {"kind": "run_failed", "name": "runs"})
    lookout.project("acme/lib")
    for project in ("acme/app", "acme/lib"):
        lookout.run("failed", project=project)
    lookout.clock.advance(3 * 86400)
    lookout.run("success", project="acme/lib")
    lookout.wait()
    assert lookout.told() == [BROKEN]


# -- run_failed ----------------------------------------------------------------------------------


def test_a_failed_run_is_told_once_for_each_ref_until_one_succeeds(watch: Watch) -> None:
    lookout = watch({"kind": "run_failed", "group_by": "alert"})
    lookout.run("failed", ref="a")
    lookout.run("failed", ref="a")
    lookout.run("failed", ref="b")
    lookout.wait()
    assert sorted(lookout.told()) == [
        "firing: acme/app: a pipeline of a failed",
        "firing: acme/app: a pipeline of b failed",
    ]
    lookout.run("success", ref="a")
    lookout.wait()
    assert lookout.told() == []
    lookout.run("failed", ref="a")
    lookout.wait(3 * 86400, step=3600)
    assert lookout.told() == ["firing: acme/app: a pipeline of a failed"]


@pytest.mark.parametrize("ref", ["12", "refs/changes/12/head"])
def test_a_change_request_is_told_by_its_number(watch: Watch, ref: str) -> None:
    lookout = watch({"kind": "run_failed", "ref_kinds": ["change_request"], "resolved": True})
    lookout.run("failed", ref=ref, ref_kind="change_request")
    lookout.wait()
    lookout.run("success", ref=ref, ref_kind="change_request")
    lookout.wait()
    assert lookout.told() == [
        "firing: acme/app: a pipeline of change request 12 failed",
        "resolved: acme/app: change request 12 succeeds again",
    ]


def test_every_run_can_be_told_and_leaves_nothing_behind(watch: Watch) -> None:
    lookout = watch({"kind": "run_failed", "every_run": True, "group_by": "alert"})
    for _ in range(3):
        lookout.run("failed")
    lookout.wait()
    assert len(lookout.told()) == 3
    assert lookout.rows() == []


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"providers": ["forge"]}, 1),
        ({"providers": ["other"]}, 0),
        ({"projects": ["acme/*"]}, 1),
        ({"projects": ["!acme/*"]}, 0),
        ({"refs": ["ma?n"]}, 1),
        ({"refs": ["release/*"]}, 0),
        ({"ref_kinds": ["branch"]}, 1),
        ({"ref_kinds": ["tag"]}, 0),
        ({"sources": ["push", "web"]}, 1),
        ({"sources": ["schedule"]}, 0),
        ({"users": ["ada"]}, 1),
        ({"users": ["!ada"]}, 0),
        ({"pipelines": ["!nightly"]}, 1),
        ({"pipelines": ["nightly"]}, 0),
        ({"jobs": ["unit"]}, 1),
        ({"jobs": ["lint"]}, 0),
        ({"statuses": ["canceled"]}, 0),
    ],
    ids=str,
)
def test_filters_choose_the_runs(watch: Watch, filters: dict[str, Any], told: int) -> None:
    lookout = watch({"kind": "run_failed", **filters})
    lookout.run("failed", job("unit"), job("lint", "success"))
    lookout.wait()
    assert len(lookout.told()) == told


def test_the_end_can_be_told_too(watch: Watch) -> None:
    lookout = watch({"kind": "run_failed", "resolved": True, "statuses": ["failed", "canceled"]})
    lookout.run("canceled")
    lookout.wait()
    lookout.run("success")
    lookout.wait()
    assert lookout.told() == [
        "firing: acme/app: a pipeline of main failed",
        "resolved: acme/app: main succeeds again",
    ]


def test_a_ref_of_which_nothing_is_heard_for_a_week_is_forgotten(watch: Watch) -> None:
    lookout = watch({"kind": "run_failed"})
    lookout.run("failed", ref="a", selected=False)
    lookout.wait()
    lookout.wait(6 * 86400, step=86400)
    assert lookout.active() == {"rule": 1}
    lookout.wait(2 * 86400, step=86400)
    assert lookout.active() == {"rule": 0}


# -- job_failing ---------------------------------------------------------------------------------


def test_a_job_that_fails_in_run_after_run_is_told(watch: Watch) -> None:
    lookout = watch({"kind": "job_failing", "times": 3})
    lookout.run("failed", job("unit"))
    lookout.run("failed", job("unit"), job("lint"))
    lookout.run("failed", job("lint"))  # `unit` did not run
    lookout.wait()
    assert lookout.told() == []
    lookout.run("failed", job("unit"), ref="other")
    lookout.wait()
    assert lookout.told() == []
    lookout.run("failed", job("unit"))
    lookout.run("failed", job("unit"))
    lookout.wait()
    assert lookout.told() == ["firing: acme/app: job unit on main failed 4 times in a row"]
    lookout.run("success", job("unit", "success"))
    lookout.wait()
    assert lookout.told() == ["resolved: acme/app: job unit on main succeeds again"]


def test_a_retry_of_a_job_ends_the_row_and_one_that_may_fail_never_begins_it(watch: Watch) -> None:
    lookout = watch({"kind": "job_failing", "times": 2})
    for _ in range(3):
        lookout.run("failed", job("unit"), job("unit", "success"), job("soft", allow_failure=True))
    lookout.wait()
    assert lookout.told() == []


# -- queue_slow ----------------------------------------------------------------------------------


def test_a_run_that_waited_too_long_is_told_until_one_starts_in_time(watch: Watch) -> None:
    lookout = watch({"kind": "queue_slow", "longer_than_seconds": 300})
    lookout.run("running", queue_seconds=299.0)
    lookout.run("running", queue_seconds=420.0, ref="a")
    lookout.wait()
    assert lookout.told() == ["firing: acme/app: a run of a waited 7 min to start"]
    lookout.run("running", queue_seconds=500.0)
    lookout.wait()
    assert lookout.told() == []
    lookout.run("running", queue_seconds=3.0, ref="b")
    lookout.wait()
    assert len(lookout.told()) == 1


def test_a_run_that_waits_still_need_not_start_first(watch: Watch) -> None:
    lookout = watch({"kind": "queue_slow", "longer_than_seconds": 300})
    number = lookout.run("pending")
    lookout.wait(290)
    assert lookout.told() == []
    lookout.wait(40)
    assert lookout.told() == ["firing: acme/app: a run of main has waited 5 min 14 s and not started"]
    lookout.clock.advance(86_400)
    lookout.wait()
    assert lookout.told() == ["repeated: acme/app: a run of main has waited 1 d and not started"]
    lookout.run("running", run_id=number, queue_seconds=330.0)
    lookout.wait(60)
    assert lookout.told() == []


def test_jobs_that_waited_too_long_are_told_by_name(watch: Watch) -> None:
    lookout = watch({"kind": "queue_slow", "longer_than_seconds": 60, "of": "jobs", "jobs": ["unit"]})
    lookout.run(
        "running", job("unit", "running", queue_seconds=61.0), job("lint", "running", queue_seconds=90.0)
    )
    lookout.wait()
    assert lookout.told() == ["firing: acme/app: job unit waited 1 min 1 s to start"]
    lookout.run("running", job("unit", "running", queue_seconds=1.0))
    lookout.wait()
    assert lookout.told() == ["resolved: acme/app: job unit starts in time again"]


# -- run_stuck -----------------------------------------------------------------------------------


def test_a_run_over_the_limit_is_stuck_until_it_ends(watch: Watch) -> None:
    lookout = watch({"kind": "run_stuck", "longer_than_seconds": 600, "times_p95": None})
    number = lookout.run("running")
    lookout.run("manual", ref="waits for people")
    lookout.wait(595)
    assert lookout.told() == []
    lookout.wait(30)
    (told,) = lookout.told()
    assert told.startswith("firing: acme/app: a run of main is stuck for 10 min")
    lookout.wait(600, step=60)
    assert lookout.told() == []
    lookout.run("canceled", run_id=number)
    lookout.wait(20)
    assert lookout.told() == ["resolved: acme/app: a run of main is no longer stuck"]


def test_what_is_usual_for_a_pipeline_is_its_own_limit(watch: Watch) -> None:
    lookout = watch({"kind": "run_stuck", "times_p95": 3, "min_runs": 5, "at_least_seconds": 100})
    lookout.project("acme/slow")
    lookout.project("acme/new")
    for _ in range(6):
        lookout.run("success", duration_seconds=10.0)
        lookout.run("success", project="acme/slow", duration_seconds=1000.0)
    for project in ("acme/app", "acme/slow", "acme/new"):
        lookout.run("running", project=project)
    lookout.wait(200)
    told = lookout.told()
    assert [one.split(" is stuck")[0] for one in told] == ["firing: acme/app: a run of main"]
    lookout.wait(2700, step=60)
    assert lookout.told() == []
    lookout.wait(240, step=60)
    assert [one.split(" is stuck")[0] for one in lookout.told()] == ["firing: acme/slow: a run of main"]


# -- what nobody saw happen ----------------------------------------------------------------------


def test_a_branch_that_is_broken_when_alerts_are_first_configured_is_told_once(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"}, {"kind": "run_failed", "name": "runs"})
    forget_alerts(lookout)
    for project in ("acme/lib", "acme/old"):
        lookout.project(project)
    for project in ("acme/app", "acme/lib"):
        lookout.run("failed", project=project)
        lookout.run("failed", project=project, ref="feature")
    lookout.run("success", project="acme/lib")
    lookout.run("success", project="acme/app", source="parent_pipeline")
    lookout.run("failed", project="acme/old", finished_at=START - timedelta(days=30))
    lookout.store.outbox.subscribe("alerts", frozenset({"runs"}))
    lookout.begin()
    lookout.wait(120)
    assert lookout.told() == [BROKEN]
    lookout.restart()
    lookout.wait(120)
    lookout.run("success")
    lookout.wait()
    assert lookout.told() == [MENDED]


def test_a_restart_tells_nothing_of_what_was_history_at_the_first_start(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    lookout.wait(120)
    lookout.run("failed", batch={"history": True})
    lookout.restart()
    lookout.wait(120)
    assert lookout.told() == []


def forget_alerts(lookout: Lookout) -> None:
    """As if the store was one of a program that knew no alerts."""
    lookout.store.outbox.unsubscribe_others([])
    with lookout.store._write() as connection:
        connection.execute(sa.delete(facts).where(facts.c.name == "alerts_begun"))


def test_what_was_mended_while_alerts_were_off_does_not_stand_when_they_are_on_again(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"}, {"kind": "run_failed", "name": "runs"})
    lookout.run("failed")
    lookout.wait()
    assert len(lookout.told()) == 2
    lookout.store.outbox.unsubscribe_others([])
    lookout.run("success")
    lookout.store.outbox.subscribe("alerts", frozenset({"runs"}))
    lookout.begin()
    lookout.wait()
    assert lookout.told() == [MENDED]
    assert lookout.active() == {"rule": 0, "runs": 0}


def test_a_run_that_is_tried_again_does_not_mend_its_branch_at_a_restart(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    lookout.run("success")
    tried = lookout.run("failed")
    lookout.wait()
    assert lookout.told() == [BROKEN]
    lookout.run("running", run_id=tried)
    lookout.restart()
    lookout.wait(120)
    assert lookout.told() == []
    assert lookout.active() == {"rule": 1}


def test_a_branch_that_is_the_default_no_more_is_told_no_more(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken", "repeat_interval_seconds": 3600})
    lookout.run("failed")
    lookout.wait()
    assert lookout.told() == [BROKEN]
    lookout.save("acme/app", unit=Unit("acme/app", "acme/app", default_branch="trunk"))
    lookout.wait(7200, step=60)
    assert lookout.told() == []
    lookout.run("failed", ref="trunk")
    lookout.wait()
    assert lookout.told() == ["firing: acme/app: trunk is broken"]


def test_when_the_failed_run_is_deleted_the_one_before_says_how_the_branch_is(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    lookout.project("acme/lib")
    lookout.run("failed")
    lookout.run("success", project="acme/lib")
    deleted = {name: lookout.run("failed", project=name) for name in ("acme/app", "acme/lib")}
    lookout.wait()
    assert len(lookout.told()) == 1
    for name, run_id in deleted.items():
        lookout.save(name, deleted_runs=(run_id,))
    lookout.wait(120)
    assert lookout.told() == ["resolved: acme/lib: main works again"]
    lookout.run("failed")
    lookout.wait(60)
    assert lookout.told() == []


def test_labels_of_a_rule_may_have_names_that_alerts_have_anyway(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken", "labels": {"ref": "any", "ref_kind": "any"}})
    lookout.run("failed", selected=True)
    lookout.wait(120)
    assert lookout.active() == {"rule": 1}


def test_the_last_good_run_is_found_behind_many_that_failed(watch: Watch) -> None:
    lookout = watch({"kind": "branch_broken"})
    good = lookout.run("success")
    runs = tuple(lookout.make("failed") for _ in range(40))
    lookout.save("acme/app", runs=runs)
    lookout.wait()
    (message,) = lookout.messages()
    assert f"Last good run: {good}," in message.body
