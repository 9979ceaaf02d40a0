"""What is asked of Jenkins, and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.jenkins.settings import JenkinsConfig
from exporter.contract import Batch, Position
from exporter.errors import ConfigError, ExporterError
from exporter.model.runs import PipelineRun
from exporter.runnermetrics import FetchResult
from tests.support.harness import PROJECT, Lab
from tests.support.jenkins import StandIn
from tests.support.truth import counted_runs

Make = Callable[..., Lab]


def many(server: StandIn) -> None:
    """A thousand jobs in seven folders, each with a build that is over; every tenth has branches."""
    actions: list[dict[str, Any]] = []
    for number in range(1000):
        kind = "pipeline" if number % 10 else "multibranch"
        path = f"acme/team-{number % 7}/job-{number}"
        actions.append({"action": "create_project", "path": path, "kind": kind})
        actions.append({"action": "new_pipeline", "project": path, "jobs": [{"name": "build"}]})
    server.action("batch", actions=actions)
    server.advance(60)


class Nothing:
    """A store that keeps nothing: a thousand jobs need no database to be asked about."""

    def updated_at(self, run_ids: object) -> dict[int, datetime]:
        return {}

    def unfinished(self) -> list[PipelineRun]:
        return []

    def incomplete(self, limit: int) -> list[PipelineRun]:
        return []


def test_a_steady_round_over_a_thousand_jobs_is_one_call_and_one_for_each_build(lab_of: Make) -> None:
    lab = lab_of(kind=None)
    many(lab.server)
    lab.advance(0)
    collector, start = lab.exporter.collector, lab.clock.now()
    units = collector.discover().units
    cursors: dict[str, str | None] = {}

    def round_of_polls() -> list[Batch]:
        lab.calls()
        batches = [collector.poll(unit, Position(cursors.get(unit.key), start, Nothing())) for unit in units]
        cursors.update({unit.key: batch.cursor for unit, batch in zip(units, batches, strict=True)})
        return batches

    assert len(round_of_polls()) == 1000
    lab.advance(60)
    assert not any(batch.runs for batch in round_of_polls())
    assert lab.calls() == {"GET /api/json": 1}
    for number in range(1, 26):
        if number % 10:
            lab.pipeline({"name": "build", "seconds": 10}, project=f"acme/team-{number % 7}/job-{number}")
    lab.advance(60)
    assert sum(len(batch.runs) for batch in round_of_polls()) == 23
    assert lab.calls() == {"GET /api/json": 1, "GET /job/:job/:number/wfapi": 23}


def test_units_that_a_look_shows_to_have_changed_are_woken(lab_of: Make) -> None:
    lab = lab_of()
    lab.act("create_project", path="acme/q")
    lab.exporter.discover()
    woken: list[str] = []
    object.__setattr__(lab.exporter.collector.context, "wake", woken.append)
    lab.exporter.poll()
    lab.pipeline(project="acme/q")
    lab.pipeline(project=PROJECT)
    lab.advance(60)
    state = lab.exporter.rounds.state(PROJECT)
    assert state is not None
    lab.exporter.rounds.visit(state)
    assert woken == ["acme/q"]
    lab.calls()
    lab.exporter.rounds.visit(lab.exporter.rounds.state("acme/q"))
    assert "GET /api/json" not in lab.calls()


def test_a_look_that_failed_fails_for_all_units_and_is_not_repeated_by_each(lab_of: Make) -> None:
    lab = lab_of()
    for number in range(20):
        lab.act("create_project", path=f"acme/job-{number}")
    lab.exporter.discover()
    lab.exporter.poll()
    lab.calls()
    lab.server.faults({"kind": "status", "status": 503})
    visits = lab.exporter.poll()
    assert {visit.result for visit in visits if visit} == {FetchResult.ERROR}
    assert len(visits) == 21
    assert lab.calls() == {"GET /api/json": 3}


def test_running_builds_are_shown_while_they_run(lab: Lab) -> None:
    lab.pipeline({"name": "build", "seconds": 300})
    lab.run(30, 30)
    assert lab.exporter.value("ci_pipeline_status", ref="main", status="running") == 1
    lab.calls()
    lab.run(30, 30)
    assert lab.calls() == {"GET /api/json": 1}


def test_times_are_those_of_jenkins(lab: Lab) -> None:
    lab.pipeline({"name": "build", "seconds": 57, "queue": 2})
    lab.run(90)
    exporter = lab.exporter
    assert exporter.value("ci_pipeline_last_queue_duration_seconds", ref="main") == 1
    assert exporter.value("ci_pipeline_last_duration_seconds", ref="main") == 59
    created = exporter.value("ci_pipeline_last_created_timestamp_seconds", ref="main")
    finished = exporter.value("ci_pipeline_last_finished_timestamp_seconds", ref="main")
    assert created is not None
    assert finished == created + 60
    assert exporter.value("ci_job_run_duration_seconds_sum", job="build") == 59


def test_without_the_plugin_metrics_the_wait_is_unknown_and_not_zero(lab_of: Make) -> None:
    lab = lab_of(site={"metrics": False})
    lab.exporter.poll()
    lab.pipeline()
    lab.run(60)
    assert lab.exporter.value("ci_pipeline_last_duration_seconds", ref="main") is not None
    assert lab.exporter.value("ci_pipeline_last_queue_duration_seconds", ref="main") is None
    assert lab.exporter.value("ci_pipeline_run_queue_duration_seconds_count") is None


def test_without_stage_view_there_are_no_jobs_and_only_one_question_for_them(lab_of: Make) -> None:
    lab = lab_of(site={"stage_view": False})
    lab.exporter.poll()
    for _ in range(3):
        lab.pipeline()
        lab.run(60)
    assert sum(counted_runs(lab.exporter.text).values()) == 3
    assert lab.calls()["GET /job/:job/:number/wfapi"] == 1
    lab.act("set", stage_view=True)
    lab.exporter.discover()
    lab.pipeline()
    lab.run(60)
    assert lab.exporter.value("ci_job_runs_total", job="unit", status="success") == 1


def test_freestyle_builds_are_never_asked_for_stages(lab_of: Make) -> None:
    lab = lab_of(kind="freestyle")
    lab.exporter.poll()
    lab.pipeline()
    lab.run(60)
    assert sum(counted_runs(lab.exporter.text).values()) == 1
    assert "GET /job/:job/:number/wfapi" not in lab.calls()


def test_jobs_can_be_left_out(lab_of: Make) -> None:
    lab = lab_of(jobs={"enabled": False})
    lab.exporter.poll()
    lab.pipeline()
    lab.run(60)
    assert "GET /job/:job/:number/wfapi" not in lab.calls()


def test_branches_change_requests_and_tags_are_told_apart(lab_of: Make) -> None:
    lab = lab_of(refs={"branches": {"regexp": "."}})
    lab.exporter.poll()
    for ref, kind in (("feature/a b", "branch"), ("PR-7", "change_request"), ("v1.0", "tag")):
        lab.pipeline(ref=ref, ref_kind=kind)
    lab.run(60)
    for ref, kind in (("feature/a b", "branch"), ("PR-7", "change_request"), ("v1.0", "tag")):
        assert lab.exporter.value("ci_pipeline_last_run_id", ref=ref, ref_kind=kind) is not None


def test_where_views_are_hidden_names_tell_change_requests(lab: Lab) -> None:
    lab.server.faults({"kind": "status", "status": 404, "path": "views"})
    lab.pipeline(ref="PR-7")
    lab.run(60)
    assert lab.exporter.value("ci_pipeline_last_run_id", ref="PR-7", ref_kind="change_request") is not None


def test_the_state_of_a_branch_vanishes_with_it_and_its_totals_stay(lab: Lab) -> None:
    lab.pipeline(ref="master")
    lab.run(60)
    assert lab.exporter.value("ci_pipeline_last_run_id", ref="master") is not None
    lab.act("delete_branch", project=PROJECT, ref="master")
    lab.run(60)
    assert lab.exporter.value("ci_pipeline_last_run_id", ref="master") is None
    assert sum(counted_runs(lab.exporter.text).values()) == 1


def test_a_plain_job_shows_the_branch_that_it_checked_out(lab_of: Make) -> None:
    lab = lab_of(kind="pipeline")
    lab.exporter.poll()
    lab.pipeline(ref="main")
    lab.run(60)
    assert lab.exporter.value("ci_pipeline_last_run_id", ref="main") == 1


def test_a_plain_job_without_a_repository_is_shown_all_the_same(lab_of: Make) -> None:
    lab = lab_of(kind="freestyle", site={"git": False})
    lab.exporter.poll()
    lab.pipeline()
    lab.run(60)
    assert lab.exporter.value("ci_pipeline_last_run_id", ref="", ref_kind="branch") == 1


@pytest.mark.parametrize(("unstable", "status"), [("failed", "failed"), ("success", "success")])
def test_what_unstable_means_is_for_the_operator_to_say(lab_of: Make, unstable: str, status: str) -> None:
    lab = lab_of(unstable=unstable)
    lab.exporter.poll()
    lab.act("set_result", pipeline_id=lab.pipeline(), result="UNSTABLE")
    lab.run(60)
    assert lab.exporter.value("ci_pipeline_runs_total", status=status) == 1


@pytest.mark.parametrize(
    ("source", "shown"),
    [("user", "user"), ("timer", "timer"), ("restart", "restart"), ("gremlin", "unknown")],
)
def test_the_cause_becomes_the_source(lab: Lab, source: str, shown: str) -> None:
    lab.pipeline(source=source)
    lab.run(60)
    assert lab.exporter.value("ci_pipeline_runs_total", source=shown) == 1


def test_an_aborted_build_and_its_stages_are_canceled(lab: Lab) -> None:
    run = lab.pipeline({"name": "build", "seconds": 600})
    lab.run(30)
    lab.act("cancel", project=PROJECT, pipeline_id=run)
    lab.run(30)
    assert lab.exporter.value("ci_pipeline_runs_total", status="canceled") == 1
    assert lab.exporter.value("ci_job_runs_total", job="build", status="canceled") == 1


def test_only_selected_refs_are_counted_if_that_is_wanted(lab_of: Make) -> None:
    lab = lab_of(refs={"count": "selected"})
    lab.exporter.poll()
    lab.pipeline(ref="main")
    lab.pipeline(ref="other")
    lab.run(60)
    assert sum(counted_runs(lab.exporter.text).values()) == 1


def test_a_plain_job_that_checks_out_a_ref_that_does_not_count_is_forgotten(lab_of: Make) -> None:
    lab = lab_of(kind="pipeline", refs={"count": "selected"})
    lab.exporter.poll()
    lab.pipeline({"name": "build", "seconds": 60, "queue": 60}, ref="other")
    lab.run(30, 30)
    assert lab.exporter.value("ci_pipeline_runs_active", project=PROJECT) == 1
    lab.run(60, 30)
    assert lab.exporter.value("ci_pipeline_runs_active", project=PROJECT) is None
    lab.run(90, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 0


def test_globs_choose_among_the_jobs(lab_of: Make) -> None:
    lab = lab_of(include=("acme/*",), exclude=("*/old-*",))
    for path in ("acme/q", "acme/old-1", "elsewhere/r"):
        lab.act("create_project", path=path, kind="pipeline")
    lab.exporter.discover()
    assert {state.stored.unit.name for state in lab.exporter.rounds.states()} == {PROJECT, "acme/q"}


def test_folders_are_watched_by_name_and_one_that_is_hidden_is_only_a_trouble(lab_of: Make) -> None:
    lab = lab_of(folders=("acme", "secret"))
    lab.act("create_project", path="other/r", kind="pipeline")
    lab.server.faults({"kind": "status", "status": 403, "path": "/job/secret/"})
    lab.exporter.discover()
    assert [state.stored.unit.name for state in lab.exporter.rounds.states()] == [PROJECT]
    assert [(one.name, one.reason) for one in lab.exporter.rounds.troubles()] == [("secret", "forbidden")]
    lab.pipeline()
    lab.run(60)
    assert sum(counted_runs(lab.exporter.text).values()) == 1


def test_folders_deeper_than_is_looked_are_told(lab_of: Make) -> None:
    lab = lab_of(depth=2)
    lab.act("create_project", path="acme/a/b/deep", kind="pipeline")
    lab.exporter.discover()
    assert [(one.name, one.reason) for one in lab.exporter.rounds.troubles()] == [
        ("acme/a", "too_many"),
        (PROJECT, "too_many"),
    ]


def test_organization_folders_are_walked(lab: Lab) -> None:
    lab.act("make_organization", path="acme")
    lab.exporter.discover()
    assert [state.stored.unit.name for state in lab.exporter.rounds.states()] == [PROJECT]


def test_jenkins_may_be_behind_a_prefix(lab_of: Make) -> None:
    lab = lab_of(site={"prefix": "/jenkins"})
    lab.exporter.poll()
    lab.pipeline()
    lab.run(60)
    assert sum(counted_runs(lab.exporter.text).values()) == 1
    assert lab.exporter.collector.target.endswith("/jenkins")


def test_anonymous_visitors_may_be_enough(lab_of: Make) -> None:
    lab = lab_of(site={"anonymous": True}, user="", token=None)
    lab.exporter.poll()
    lab.pipeline()
    lab.run(60)
    assert sum(counted_runs(lab.exporter.text).values()) == 1


def test_an_instance_that_shows_nothing_fails_the_discovery(lab_of: Make) -> None:
    lab = lab_of()
    lab.server.faults({"kind": "status", "status": 403})
    with pytest.raises(ExporterError, match="may not read Jenkins"):
        lab.exporter.discover()
    assert lab.exporter.rounds.halted is None


def test_a_refused_token_is_exchanged_for_the_one_in_the_file(lab_of: Make, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("standin-token")
    lab = lab_of(token_file=file)
    lab.exporter.poll()
    lab.act("set_token", token="another")
    lab.exporter.poll()
    assert lab.exporter.rounds.halted
    assert not lab.exporter.rounds.resume()
    file.write_text("another")
    assert lab.exporter.rounds.resume()
    lab.exporter.discover()
    lab.pipeline()
    lab.run(60)
    assert sum(counted_runs(lab.exporter.text).values()) == 1


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"user": "bob"}, "needs a token"),
        ({"token": "t"}, "needs the `user`"),
        ({"depth": 0}, "greater than or equal to 1"),
        ({"unstable": "maybe"}, "'failed' or 'success'"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(block: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JenkinsConfig.model_validate({"url": "http://localhost:1", **block})


def test_a_missing_file_of_the_authority_is_an_error_of_the_configuration(
    lab_of: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"collectors\.jenkins\.ca_file"):
        lab_of(ca_file=tmp_path / "none.pem")


def test_a_cursor_that_cannot_be_read_begins_anew(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.pipeline()
    lab.run(60)
    state = lab.exporter.rounds.states()[0]
    known = lab.exporter.store.known(state.stored.id)
    for bad in ("[]", '{"marks":{"main":3}}', "{"):
        batch = lab.exporter.collector.poll(
            state.stored.unit, Position(bad, datetime.fromisoformat("2026-03-02T08:00:00Z"), known)
        )
        assert [run.status.value for run in batch.runs] == ["success"]
        assert batch.jobs == ()
    assert "a stored cursor could not be read" in caplog.text


def test_the_primary_branch_is_the_default_branch(lab_of: Make) -> None:
    lab = lab_of(kind=None)
    lab.act("create_project", path=PROJECT, default_branch="trunk")
    lab.exporter.discover()
    lab.exporter.poll()
    lab.pipeline(ref="trunk")
    lab.run(60)
    assert lab.exporter.value("ci_project_info", project=PROJECT, default_branch="trunk") == 1
    lab.exporter.discover()
    assert lab.exporter.rounds.states()[0].stored.unit.default_branch == "trunk"
