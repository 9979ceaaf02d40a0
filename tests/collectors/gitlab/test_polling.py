"""What happens at GitLab, and what is exposed of it after the next poll."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from exporter.runnermetrics import FetchResult
from tests.support.harness import PROJECT, Lab

FAILS = {"name": "unit", "attempts": [{"run": 30, "outcome": "failed"}, {"run": 30}]}
LIST, DETAIL = "GET /projects/:id/pipelines", "GET /projects/:id/pipelines/:id"
JOBS, BRIDGES = f"{DETAIL}/jobs", f"{DETAIL}/bridges"


def runs(lab: Lab) -> dict[str, int]:
    """``status -> runs counted``, of all projects."""
    found: Counter[str] = Counter()
    for line in lab.exporter.lines("ci_pipeline_runs_total"):
        found[line.split('status="')[1].split('"')[0]] += int(float(line.rpartition(" ")[2]))
    return dict(found)


def jobs(lab: Lab) -> dict[tuple[str, str], int]:
    """``(job, status) -> jobs counted``."""
    return {
        (line.split('job="')[1].split('"')[0], line.split('status="')[1].split('"')[0]): int(
            float(line.rpartition(" ")[2])
        )
        for line in lab.exporter.lines("ci_job_runs_total")
    }


def statuses(lab: Lab, **labels: str) -> list[str]:
    """The statuses shown of refs that carry *labels*."""
    lines = lab.exporter.lines("ci_pipeline_status", **labels)
    return [line.split('status="')[1].split('"')[0] for line in lines]


def poll_after(lab: Lab, seconds: float) -> None:
    lab.advance(seconds)
    lab.exporter.poll()


def test_one_pipeline_from_payload_to_exposition(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(world={"projects": 0, "seed": 3})
    lab.act("create_project", path=PROJECT)
    lab.exporter.discover()
    lab.exporter.poll()
    lab.pipeline({"name": "unit", "queue": 2, "run": 30, "coverage": 87.5})
    poll_after(lab, 60)
    samples = [line for line in lab.exporter.text.splitlines() if not line.startswith("#")]
    wanted = Path(__file__).with_name("fixtures") / "one_pipeline.txt"
    assert samples == wanted.read_text().splitlines()


def test_a_child_counts_as_a_run_of_its_own_and_outlives_its_parent(lab: Lab) -> None:
    child = {"name": "soak", "run": 600}
    lab.pipeline({"name": "trigger", "downstream": {"jobs": [child]}}, {"name": "unit"})
    poll_after(lab, 60)
    assert runs(lab) == {"success": 1}
    assert statuses(lab, source="parent_pipeline") == ["running"]
    lab.run(900, 60)
    assert runs(lab) == {"success": 2}
    assert jobs(lab) == {("unit", "success"): 1, ("soak", "success"): 1}


def test_a_grandchild_is_found(lab: Lab) -> None:
    inner = {"name": "inner", "downstream": {"jobs": [{"name": "leaf"}]}}
    lab.pipeline({"name": "outer", "downstream": {"jobs": [inner]}})
    lab.run(300, 30)
    assert runs(lab) == {"success": 3}


def test_a_pipeline_started_in_another_project_counts_there_once(lab: Lab) -> None:
    other = lab.act("create_project", path="acme/q")["project_id"]
    lab.exporter.discover()
    lab.pipeline({"name": "trigger", "downstream": {"project_id": other, "jobs": [{"name": "leaf"}]}})
    lab.run(300, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", project="acme/q", source="pipeline") == 1
    assert lab.exporter.value("ci_pipeline_runs_total", project=PROJECT) == 1


def test_merge_requests_show_while_they_are_open(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(rediscover_interval_seconds=120)
    lab.exporter.poll()
    for suffix in ("head", "merge", "train"):
        lab.pipeline(ref=f"refs/merge-requests/1/{suffix}")
    lab.pipeline(ref="refs/merge-requests/2/head")
    poll_after(lab, 60)
    assert len(statuses(lab, ref_kind="change_request")) == 4
    lab.act("close_mr", project=PROJECT, iid=1)
    lab.run(240, 60)
    assert statuses(lab, ref_kind="change_request") == ["success"]
    assert lab.exporter.value("ci_pipeline_runs_total", ref_kind="change_request") == 4


@pytest.mark.parametrize(("what", "name"), [("branch", "main"), ("tag", "v1.0.0")])
def test_the_state_of_a_deleted_ref_vanishes_and_its_totals_stay(
    lab_of: Callable[..., Lab], what: str, name: str
) -> None:
    lab = lab_of(rediscover_interval_seconds=120)
    lab.exporter.poll()
    lab.pipeline(ref=name)
    poll_after(lab, 60)
    assert statuses(lab, ref_kind=what) == ["success"]
    lab.act(f"delete_{what}", project=PROJECT, name=name)
    lab.run(240, 60)
    assert statuses(lab, ref_kind=what) == []
    assert lab.exporter.value("ci_pipeline_runs_total", ref_kind=what) == 1


def test_refs_that_are_not_selected_count_without_a_state(lab: Lab) -> None:
    lab.pipeline(ref="develop")
    poll_after(lab, 60)
    assert statuses(lab) == []
    assert runs(lab) == {"success": 1}


def test_a_retry_seen_while_it_runs(lab: Lab) -> None:
    number = lab.pipeline(FAILS)
    poll_after(lab, 60)
    assert runs(lab) == {"failed": 1}
    lab.act("retry_pipeline", pipeline=number)
    poll_after(lab, 10)
    assert statuses(lab) == ["running"]
    poll_after(lab, 60)
    assert runs(lab) == {"failed": 1, "success": 1}
    assert jobs(lab) == {("unit", "failed"): 1, ("unit", "success"): 1}
    assert lab.exporter.value("ci_job_retries_total", job="unit") == 1


def test_a_failure_seen_only_during_its_retry(lab: Lab) -> None:
    number = lab.pipeline(FAILS)
    lab.advance(60)
    lab.act("retry_pipeline", pipeline=number)
    poll_after(lab, 10)
    assert runs(lab) == {"failed": 1}
    poll_after(lab, 60)
    assert runs(lab) == {"failed": 1, "success": 1}


def test_a_failure_and_its_retry_between_two_polls(lab: Lab) -> None:
    number = lab.pipeline(FAILS, {"name": "after", "stage": "deploy"})
    lab.advance(60)
    lab.act("retry_pipeline", pipeline=number)
    poll_after(lab, 120)
    assert runs(lab) == {"failed": 1, "success": 1}
    assert lab.exporter.value("ci_pipeline_run_duration_seconds_sum") == 30 + 60
    lab.restart()
    poll_after(lab, 60)
    assert runs(lab) == {"failed": 1, "success": 1}


def test_a_retry_by_gitlab_itself_is_no_other_execution(lab: Lab) -> None:
    lab.pipeline(FAILS | {"auto_retry": True})
    poll_after(lab, 120)
    assert runs(lab) == {"success": 1}
    assert lab.exporter.value("ci_job_retries_total", job="unit") == 1


def test_an_optional_job_played_between_two_polls_is_no_execution_that_anyone_can_prove(lab: Lab) -> None:
    number = lab.pipeline({"name": "unit"}, {"name": "deploy", "when": "manual", "allow_failure": True})
    lab.advance(60)
    lab.act("play", pipeline=number)
    poll_after(lab, 60)
    # GitLab had success twice, but shows one end, and jobs that may as well have been delayed.
    assert runs(lab) == {"success": 1}
    assert jobs(lab) == {("unit", "success"): 1, ("deploy", "success"): 1}


def test_a_retried_job_of_a_successful_pipeline(lab: Lab) -> None:
    lab.pipeline()
    poll_after(lab, 60)
    first = int(lab.server.get("/projects/101/jobs")[1][0]["id"])
    lab.act("retry_job", job=first)
    poll_after(lab, 60)
    assert runs(lab) == {"success": 2}
    assert jobs(lab) == {("unit", "success"): 2}


def test_a_blocked_pipeline_is_manual_until_somebody_plays(lab: Lab) -> None:
    number = lab.pipeline({"name": "unit"}, {"name": "gate", "stage": "gate", "when": "manual"})
    poll_after(lab, 60)
    assert statuses(lab) == ["manual"]
    assert runs(lab) == {}
    assert jobs(lab) == {("unit", "success"): 1}
    lab.run(7_200, 600)
    lab.act("play", pipeline=number)
    lab.run(120, 60)
    assert runs(lab) == {"success": 1}
    assert jobs(lab) == {("unit", "success"): 1, ("gate", "success"): 1}


def test_what_a_message_needs_is_stored_without_further_calls(lab: Lab) -> None:
    number = lab.pipeline({"name": "unit"}, {"name": "gate", "stage": "gate", "when": "manual"})
    lab.calls()
    poll_after(lab, 60)
    assert lab.calls() == {LIST: 1, DETAIL: 1, JOBS: 1, BRIDGES: 1}
    unit = lab.exporter.rounds.states()[0].stored.id
    (run,) = lab.exporter.store.known(unit).unfinished()
    assert run.sha == lab.server.get(f"/projects/101/pipelines/{number}")[1]["sha"]
    assert run.commit_title == f"Change {number}"
    with lab.exporter.store._read() as connection:
        urls = connection.execute(sa.text("SELECT web_url FROM jobs ORDER BY job_id")).scalars().all()
    assert urls == [f"{lab.server.url}/{PROJECT}/-/jobs/{job}" for job in (1, 2)]
    # Looked at again without its jobs, it is the same as before.
    lab.advance(86_400 / 2)
    visits = lab.exporter.poll()
    assert [visit.result for visit in visits if visit] == [FetchResult.EMPTY]
    (run,) = lab.exporter.store.known(unit).unfinished()
    assert run.commit_title == f"Change {number}"


def test_canceled_before_it_began(lab: Lab) -> None:
    number = lab.pipeline({"name": "unit", "queue": 600})
    poll_after(lab, 10)
    lab.act("cancel_pipeline", pipeline=number)
    poll_after(lab, 10)
    assert runs(lab) == {"canceled": 1}
    assert jobs(lab) == {("unit", "canceled"): 1}
    assert lab.exporter.value("ci_pipeline_run_queue_duration_seconds_count") in (None, 0)
    assert lab.exporter.lines("ci_pipeline_last_queue_duration_seconds") == []


def test_skipped_counts_once_although_it_has_no_end(lab: Lab) -> None:
    lab.pipeline(story="ci_skip")
    lab.run(300, 30)
    assert runs(lab) == {"skipped": 1}


def test_deleted_while_it_ran(lab: Lab) -> None:
    number = lab.pipeline({"name": "unit", "run": 3_000})
    poll_after(lab, 30)
    assert lab.exporter.value("ci_pipeline_runs_active", status="running") == 1
    lab.act("delete_pipeline", pipeline=number)
    lab.run(2_400, 60)
    assert lab.exporter.value("ci_pipeline_runs_active") in (None, 0)
    assert statuses(lab) == []


def test_an_unknown_status_is_shown_as_such_and_reported(lab: Lab) -> None:
    number = lab.pipeline({"name": "unit", "run": 3_000})
    poll_after(lab, 10)
    lab.act("set_status", pipeline=number, status="levitating")
    poll_after(lab, 10)
    assert statuses(lab) == ["unknown"]


def test_refs_from_before_the_first_poll_are_filled_in(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of()
    lab.pipeline()
    lab.advance(60)
    lab.run(90, 30)
    assert runs(lab) == {"success": 1}
    late = lab_of()
    for ref in ("main", "v1.0.0", "v1.1.0"):
        late.pipeline(ref=ref)
    late.server.advance(5_000)
    late.clock.advance(5_000)
    late.restart(instance="another")
    late.run(60, 30)
    assert runs(late) == {}
    assert sorted(statuses(late)) == ["success"] * 3
    assert len(late.exporter.lines("ci_pipeline_last_duration_seconds")) == 3


# -- settings ----------------------------------------------------------------------------------


def test_only_selected_refs_count_if_wanted(lab_of: Callable[..., Lab]) -> None:
    refs = {"count": "selected", "tags": {"enabled": False}}
    lab = lab_of(refs=refs, per_page=2)
    lab.exporter.poll()
    for ref in ("develop", "main", "develop", "develop"):
        lab.pipeline(ref=ref)
    poll_after(lab, 60)
    assert runs(lab) == {"success": 1}
    assert jobs(lab) == {("unit", "success"): 1}
    assert lab.calls()[DETAIL] == 1  # the list told that the others are for other refs


def test_what_does_not_count_is_read_once(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(refs={"count": "selected"}, per_page=2)
    lab.exporter.poll()
    for _ in range(5):
        lab.pipeline(ref="develop")  # for all the list tells, it might be a tag
    lab.advance(60)
    lab.calls()
    lab.exporter.poll()
    calls = lab.calls()
    assert (calls[DETAIL], JOBS in calls) == (5, False)
    lab.run(60, 30)
    assert DETAIL not in lab.calls()


def test_without_jobs(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(jobs={"enabled": False})
    lab.exporter.poll()
    lab.pipeline()
    poll_after(lab, 60)
    assert runs(lab) == {"success": 1}
    assert jobs(lab) == {}
    assert JOBS not in lab.calls()


def test_without_children(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(child_pipelines=False)
    lab.exporter.poll()
    lab.pipeline({"name": "trigger", "downstream": {"jobs": [{"name": "leaf"}]}})
    lab.run(120, 30)
    assert runs(lab) == {"success": 1}
    assert BRIDGES not in lab.calls()


def test_dense_shows_every_status(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(dense=True)
    lab.exporter.poll()
    lab.pipeline()
    poll_after(lab, 60)
    lines = [line for line in lab.exporter.text.splitlines() if line.startswith("ci_pipeline_status{")]
    assert (len(lines), sum(line.endswith(" 1.0") for line in lines)) == (9, 1)


def test_the_state_of_jobs_if_wanted(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(jobs={"status": True})
    lab.exporter.poll()
    lab.pipeline(FAILS | {"auto_retry": True}, {"name": "lint", "run": 300})
    poll_after(lab, 100)
    shown = [line.split("{")[1].split("}")[0] for line in lab.exporter.lines("ci_job_status")]
    assert sorted(line.split('job="')[1].split('"')[0] + line.split("status=")[1] for line in shown) == [
        'lint"running"',
        'unit"success"',
    ]


# -- paging and cursors ------------------------------------------------------------------------


@pytest.mark.parametrize("per_page", [1, 2, 3])
def test_tiny_pages(lab_of: Callable[..., Lab], per_page: int) -> None:
    lab = lab_of(per_page=per_page)
    lab.exporter.poll()
    for _ in range(7):
        lab.pipeline(FAILS, {"name": "lint"}, {"name": "doc"})
        lab.advance(1)
    poll_after(lab, 60)
    assert runs(lab) == {"failed": 7}
    assert jobs(lab) == {("unit", "failed"): 7, ("lint", "success"): 7, ("doc", "success"): 7}


def test_more_than_a_page_changed_at_one_instant(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(per_page=3)
    lab.exporter.poll()
    for _ in range(10):
        number = lab.pipeline({"name": "unit", "run": 9_000})
        lab.act("set_status", pipeline=number, status="success")
    lab.exporter.poll()
    assert runs(lab) == {"success": 10}


def test_more_changed_than_one_poll_takes(lab: Lab) -> None:
    for _ in range(120):
        lab.pipeline(story="ci_skip")
    lab.advance(30)
    visits = lab.exporter.poll()
    assert [visit.wait == 0 for visit in visits if visit] == [True, True, False]
    assert runs(lab) == {"skipped": 120}


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "{}",
        "null",
        "[]",
        "nonsense",
        '{"updated_at": "9000-01-01T00:00:00Z"}',
        '{"updated_at": 7}',
        '{"updated_at": "0001-01-01T00:00:00+00:00"}',
        '{"unread": [1e999]}',
        '{"unread": [999999]}',
        '{"newer_version": true}',
        '{"refs_read_at": "8000-01-01T00:00:00Z"}',
    ],
)
def test_any_stored_cursor_is_survived(lab_of: Callable[..., Lab], cursor: str) -> None:
    lab = lab_of()
    lab.exporter.poll()
    with (
        lab.exporter.store._engine.execution_options(writes=True).connect() as connection,
        connection.begin(),
    ):
        connection.execute(sa.text("UPDATE units SET cursor = :cursor"), {"cursor": cursor})
    lab.pipeline()
    lab.run(120, 60)
    assert runs(lab) == {"success": 1}


def test_rows_that_become_visible_late_are_found(lab: Lab) -> None:
    lab.pipeline()
    lab.advance(40)
    lab.pipeline(story="ci_skip")
    poll_after(lab, 5)
    # Forget the older one, as if its transaction had been committed only now.
    with (
        lab.exporter.store._engine.execution_options(writes=True).connect() as connection,
        connection.begin(),
    ):
        connection.execute(sa.text("DELETE FROM runs WHERE status = 'success'"))
        connection.execute(sa.text("DELETE FROM totals"))
    poll_after(lab, 5)
    assert runs(lab) == {"success": 1}


# -- calls -------------------------------------------------------------------------------------


@pytest.fixture
def many(lab_of: Callable[..., Lab]) -> Lab:
    """Twelve projects, with history, that were polled until nothing was new."""
    lab = lab_of(
        world={"projects": 12, "history_days": 5, "history_pipelines": 100, "seed": 2}, backfill_days=7
    )
    for _ in range(4):
        lab.exporter.poll()
    lab.calls()
    return lab


def test_an_idle_round_costs_one_call_per_project(many: Lab) -> None:
    projects = len(many.exporter.rounds.states())
    for _ in range(3):
        poll_after(many, 30)
        assert many.calls() == {LIST: projects}


def test_a_changed_pipeline_costs_three_calls(many: Lab) -> None:
    states = many.exporter.rounds.states()
    for state in states[:5]:
        many.pipeline(project=state.stored.unit.name)
    poll_after(many, 60)
    assert many.calls() == {LIST: len(states), DETAIL: 5, JOBS: 5, BRIDGES: 5}
    poll_after(many, 30)
    assert many.calls() == {LIST: len(states)}


def test_a_restart_costs_no_details_again(many: Lab) -> None:
    many.restart()
    many.calls()
    poll_after(many, 30)
    assert many.calls() == {LIST: len(many.exporter.rounds.states())}


def test_unfinished_pipelines_are_looked_at_now_and_then(lab: Lab) -> None:
    lab.pipeline({"name": "unit", "run": 90_000})
    lab.run(60, 30)
    lab.calls()
    lab.run(3_000, 30)
    calls = lab.calls()
    assert calls[LIST] == 100 + 3  # and the refs and children, once in half an hour
    assert 1 <= calls[DETAIL] <= 2


def test_refs_are_read_at_their_own_pace(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(rediscover_interval_seconds=600)
    lab.exporter.poll()
    lab.calls()
    lab.run(3_000, 30)
    assert lab.calls() == {LIST: 100 + 3 * 5, "GET /projects/:id/merge_requests": 5}


# -- what is broken ----------------------------------------------------------------------------


def test_a_pipeline_that_nobody_can_read_does_not_hold_up_the_others(lab: Lab) -> None:
    broken = lab.pipeline()
    lab.server.faults({"kind": "status", "status": 500, "path": f"/pipelines/{broken}/jobs"})
    for _ in range(8):
        lab.pipeline()
        poll_after(lab, 60)
    assert runs(lab)["success"] == 8
    assert [trouble.reason.value for trouble in lab.exporter.rounds.troubles()] == ["bad_data"]
    lab.restart()
    lab.run(120, 30)
    assert runs(lab)["success"] == 8
    lab.server.faults()
    lab.run(120, 30)
    assert runs(lab)["success"] == 9
    assert lab.exporter.rounds.troubles() == []


@pytest.mark.no_cover  # long, through code that smaller tests cover
def test_every_pipeline_put_off_gets_its_turn(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of()
    lab.exporter.poll()
    numbers = [lab.pipeline() for _ in range(8)]
    lab.server.faults({"kind": "wrong_shape", "path": f"/pipelines/({'|'.join(map(str, numbers))})$"})
    lab.run(1_800, 30)
    assert runs(lab) == {}
    lab.server.faults({"kind": "wrong_shape", "path": f"/pipelines/({'|'.join(map(str, numbers[:6]))})$"})
    lab.run(300, 30)
    assert runs(lab) == {"success": 2}


def test_slow_matters_that_fail_hold_up_no_counts(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(rediscover_interval_seconds=60)
    lab.exporter.poll()
    lab.server.faults({"kind": "status", "status": 500, "path": "scope="})
    lab.pipeline()
    lab.advance(120)
    visits = [visit.result for visit in lab.exporter.poll() if visit]
    assert runs(lab) == {"success": 1}
    assert visits == [FetchResult.TASK], "once, and then at the usual pace"
    assert [trouble.reason.value for trouble in lab.exporter.rounds.troubles()] == ["bad_data"]
    lab.server.faults()
    lab.run(60, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 1
    assert lab.exporter.rounds.troubles() == []


def test_a_child_that_runs_again_long_after_its_parent_ended_is_noticed(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(rediscover_interval_seconds=600)
    parent = lab.pipeline({"name": "trigger", "downstream": {"jobs": [{"name": "leaf"}]}})
    lab.run(300, 30)
    known = lab.server.get(f"/projects/{quote(PROJECT, safe='')}/pipelines?source=parent_pipeline")[1]
    (child,) = (entry["id"] for entry in known if entry["id"] != parent)
    assert runs(lab) == {"success": 2}
    job = lab.server.get(f"/projects/{quote(PROJECT, safe='')}/pipelines/{child}/jobs")[1][0]["id"]
    lab.act("retry_job", job=job)
    lab.run(1_200, 60)
    assert runs(lab) == {"success": 3}


def test_a_project_whose_refs_cannot_be_read_is_shown_all_the_same(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of()
    lab.server.faults({"kind": "status", "status": 500, "path": "scope=tags"})
    lab.pipeline()
    lab.advance(60)
    assert len(lab.exporter.poll()) == 1
    assert runs(lab) == {"success": 1}
    assert lab.exporter.rounds.not_ready() is None


def test_a_long_poll_brings_home_what_it_has(lab: Lab) -> None:
    for _ in range(20):
        lab.pipeline()
    lab.advance(60)
    lab.server.faults({"kind": "drop", "skip": 40})
    lab.exporter.poll()
    lab.server.faults()
    assert runs(lab)["success"] >= 12


def test_a_project_hidden_for_a_while_comes_back_with_its_totals(lab: Lab) -> None:
    lab.pipeline()
    poll_after(lab, 60)
    lab.act("disable_ci", project=PROJECT)
    poll_after(lab, 30)
    assert lab.exporter.lines("ci_pipeline_runs_total") == []
    assert [trouble.reason.value for trouble in lab.exporter.rounds.troubles()] == ["forbidden"]
    lab.act("disable_ci", project=PROJECT, disabled=False)
    poll_after(lab, 30)
    assert runs(lab) == {"success": 1}


def test_the_stored_cursor_says_no_more_than_needed(lab: Lab) -> None:
    (state,) = lab.exporter.rounds.states()
    cursor: dict[str, Any] = json.loads(lab.exporter.store.position(state.stored.id).cursor or "")
    assert set(cursor) == {"updated_at", "refs_read_at"}
