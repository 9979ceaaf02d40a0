"""What a poll asks, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from exporter.contract import Batch
from exporter.runnermetrics import FetchResult
from tests.support.githubs import GitHubLab, github
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs

RUNS = "GET /repos/:repo/actions/runs"
JOBS = f"{RUNS}/:id/jobs"


def agrees(lab: GitHubLab) -> None:
    truth = lab.server.truth()
    assert difference(expected_runs(truth), counted_runs(lab.exporter.text)) == {}
    assert difference(expected_jobs(truth), counted_jobs(lab.exporter.text)) == {}


def test_without_news_a_poll_is_one_call_that_costs_nothing(lab: GitHubLab) -> None:
    lab.pipeline()
    lab.run(120, 30)
    lab.calls()
    used = lab.server.limits()["used"]
    lab.exporter.poll()
    assert lab.calls() == {RUNS: 1}
    assert lab.server.limits()["used"] == used


def test_what_is_known_survives_a_restart(lab: GitHubLab) -> None:
    lab.pipeline()
    lab.run(120, 30)
    lab.restart()
    used = lab.server.limits()["used"]
    lab.calls()
    lab.exporter.poll()
    assert lab.calls() == {RUNS: 1}
    assert lab.server.limits()["used"] == used


def test_a_finished_run_costs_the_page_and_its_jobs(lab: GitHubLab) -> None:
    lab.pipeline()
    lab.advance(120)
    lab.exporter.poll()
    assert lab.calls() == {RUNS: 1, JOBS: 1}
    agrees(lab)


def test_attempts_that_passed_unseen_all_count(lab: GitHubLab) -> None:
    run = lab.pipeline(story="failing")
    lab.advance(300)
    for _ in range(3):
        lab.act("rerun", project="acme/p", pipeline_id=run, failed_only=True)
        lab.advance(300)
    lab.exporter.poll()
    assert sum(counted_runs(lab.exporter.text).values()) == 4
    agrees(lab)


def test_an_attempt_is_asked_for_once(lab: GitHubLab) -> None:
    run = lab.pipeline(story="failing")
    lab.run(300, 60)
    lab.act("rerun", project="acme/p", pipeline_id=run)
    lab.calls()
    lab.run(20, 5)
    assert lab.calls()[f"{RUNS}/:id/attempts/:id"] == 1
    lab.restart()
    lab.run(300, 60)
    assert f"{RUNS}/:id/attempts/:id" not in lab.calls()
    agrees(lab)


def test_an_old_run_that_is_run_again_is_found(make_lab: Callable[..., GitHubLab]) -> None:
    lab = make_lab(per_page=5, rediscover_interval_seconds=600)
    first = lab.pipeline(story="failing")
    lab.advance(3600)
    for _ in range(12):
        lab.pipeline()
        lab.advance(60)
    lab.run(120, 30)
    agrees(lab)
    lab.act("rerun", project="acme/p", pipeline_id=first)
    lab.run(1200, 60)
    assert sum(counted_runs(lab.exporter.text).values()) == 14
    agrees(lab)


def test_looking_back_at_unchanged_windows_costs_nothing(make_lab: Callable[..., GitHubLab]) -> None:
    lab = make_lab(per_page=5, rediscover_interval_seconds=600)
    for _ in range(30):
        lab.pipeline()
        lab.advance(60)
    lab.run(1800, 30)
    used = lab.server.limits()["used"]
    lab.calls()
    lab.run(1800, 60)
    # What stays open at the young end is asked for unconditionally, once per interval.
    assert lab.server.limits()["used"] - used <= 4
    assert lab.calls()[RUNS] > 30


def test_a_burst_of_more_than_a_page_is_read_whole(make_lab: Callable[..., GitHubLab]) -> None:
    lab = make_lab(per_page=5)
    lab.pipeline()
    lab.run(120, 30)
    for _ in range(23):
        lab.pipeline()
        lab.advance(7)
    lab.advance(120)
    lab.exporter.poll()
    agrees(lab)


def test_more_runs_in_one_second_than_a_page_holds_are_read_whole(make_lab: Callable[..., GitHubLab]) -> None:
    lab = make_lab(per_page=5)
    lab.advance(60)
    for _ in range(12):
        lab.pipeline()
    lab.advance(60)
    for _ in range(6):
        lab.pipeline()
    lab.advance(120)
    lab.exporter.poll()
    agrees(lab)


def test_two_states_within_one_second_are_two_states(lab: GitHubLab) -> None:
    run = lab.pipeline({"name": "a", "seconds": 0.3, "queue": 0.1})
    lab.advance(1.2)
    lab.exporter.poll()
    assert sum(counted_runs(lab.exporter.text).values()) == 0
    lab.advance(0.5)
    lab.exporter.poll()
    assert sum(counted_runs(lab.exporter.text).values()) == 1
    assert run


def test_durations_and_queue_times_are_those_of_the_attempt(lab: GitHubLab) -> None:
    run = lab.pipeline({"name": "unit", "seconds": 100, "queue": 9})
    lab.advance(600)
    lab.exporter.poll()
    job = {"job": "unit", "project": "acme/p"}
    assert lab.exporter.value("ci_job_run_queue_duration_seconds_sum", **job) == 9
    assert lab.exporter.value("ci_job_run_duration_seconds_sum", **job) == 100
    # A second passes before GitHub makes the first job.
    assert lab.exporter.value("ci_pipeline_run_queue_duration_seconds_sum", project="acme/p") == 10
    assert lab.exporter.value("ci_pipeline_run_duration_seconds_sum", project="acme/p") == 110
    lab.act("rerun", project="acme/p", pipeline_id=run)
    lab.advance(600)
    lab.exporter.poll()
    assert lab.exporter.value("ci_pipeline_run_duration_seconds_sum", project="acme/p") == 220


def test_a_job_that_never_ran_has_no_queue_time(lab: GitHubLab) -> None:
    run = lab.pipeline({"name": "late", "queue": 3600})
    lab.advance(60)
    lab.act("cancel", project="acme/p", pipeline_id=run)
    lab.exporter.poll()
    assert lab.exporter.value("ci_job_run_queue_duration_seconds_count", job="late") is None
    assert counted_jobs(lab.exporter.text) == {("acme/p", "", "late", "canceled", ""): 1}


def test_refs_are_told_apart(lab: GitHubLab) -> None:
    lab.act("open_pull", project="acme/p", number=7, head="feature")
    lab.act("open_pull", project="acme/p", number=8, head="somebody:patch")
    lab.pipeline(ref="feature", ref_kind="change_request", source="pull_request")
    lab.pipeline(ref="somebody:patch", ref_kind="change_request", source="pull_request")
    lab.pipeline(ref="v1", ref_kind="tag")
    lab.pipeline(ref="topic")
    lab.pipeline()
    lab.run(120, 60)
    agrees(lab)
    refs = {
        (line.split('ref="')[1].split('"')[0], line.split('ref_kind="')[1].split('"')[0])
        for line in lab.exporter.lines("ci_pipeline_last_run_id")
    }
    assert refs == {
        ("main", "branch"),
        ("v1", "tag"),
        ("refs/pull/7/merge", "change_request"),
        ("somebody:patch", "change_request"),
    }


def test_series_of_refs_that_are_gone_vanish(lab: GitHubLab) -> None:
    lab.act("open_pull", project="acme/p", number=7, head="feature")
    lab.pipeline(ref="feature", ref_kind="change_request", source="pull_request")
    lab.pipeline(ref="v1", ref_kind="tag")
    lab.run(120, 60)
    assert lab.exporter.lines("ci_pipeline_last_run_id", ref="refs/pull/7/merge")
    lab.act("close_pull", project="acme/p", number=7)
    lab.act("delete_ref", project="acme/p", ref="refs/tags/v1")
    lab.run(3600, 1800)
    assert not lab.exporter.lines("ci_pipeline_last_run_id", ref="refs/pull/7/merge")
    assert not lab.exporter.lines("ci_pipeline_last_run_id", ref="v1")
    agrees(lab)


def test_a_run_that_is_deleted_under_way_is_forgotten(lab: GitHubLab) -> None:
    run = lab.pipeline({"name": "long", "seconds": 3600})
    lab.run(60, 30)
    assert lab.exporter.value("ci_pipeline_runs_active") == 1
    lab.act("delete_run", project="acme/p", pipeline_id=run)
    lab.exporter.poll()
    assert lab.exporter.value("ci_pipeline_runs_active") is None


def test_a_renamed_repository_keeps_its_totals(lab: GitHubLab) -> None:
    lab.pipeline()
    lab.run(120, 60)
    lab.act("rename", project="acme/p", path="acme/new")
    lab.pipeline(project="acme/new")
    lab.run(120, 60)
    assert sum(counted_runs(lab.exporter.text).values()) == 2
    assert {key[0] for key in counted_runs(lab.exporter.text)} == {"acme/new"}


def test_another_repository_under_an_old_name_is_not_taken_for_it(lab: GitHubLab) -> None:
    lab.act("rename", project="acme/p", path="acme/new")
    lab.act("create_project", path="acme/p")
    lab.pipeline(project="acme/p")
    lab.advance(120)
    visits = lab.exporter.poll()
    assert {visit.result for visit in visits if visit} == {FetchResult.ERROR}
    assert counted_runs(lab.exporter.text) == {}
    lab.exporter.discover()
    lab.exporter.poll()
    assert {key[0] for key in counted_runs(lab.exporter.text)} == {"acme/p"}


def test_history_is_shown_and_not_counted(tmp_path: Path) -> None:
    with github() as server:
        server.action("create_project", path="acme/p")
        server.action("new_pipeline", project="acme/p", story="failing")
        now = server.advance(600)
        lab = GitHubLab(server, tmp_path)
        lab.exporter.close()
        lab.clock.advance((datetime.fromisoformat(now) - lab.clock.now()).total_seconds())
        (tmp_path / "runs.db").unlink()
        lab.restart()
        lab.calls()
        lab.exporter.poll()
        assert JOBS not in lab.calls()
        assert lab.exporter.lines("ci_pipeline_status", ref="main", status="failed")
        assert counted_runs(lab.exporter.text) == {}
        lab.close()


def test_one_run_that_cannot_be_read_does_not_hold_up_the_others(lab: GitHubLab) -> None:
    bad = lab.pipeline()
    lab.pipeline()
    lab.advance(120)
    lab.server.faults({"kind": "wrong_shape", "shape": "object", "path": f"/runs/{bad}/jobs"})
    for _ in range(4):
        lab.exporter.poll()
    assert sum(counted_runs(lab.exporter.text).values()) == 1
    lab.server.faults()
    lab.exporter.poll()
    agrees(lab)


def test_only_runs_of_selected_refs_count_if_so_wanted(make_lab: Callable[..., GitHubLab]) -> None:
    lab = make_lab(refs={"count": "selected", "tags": {"enabled": False}})
    lab.pipeline()
    lab.pipeline(ref="topic")
    lab.pipeline(ref="v1", ref_kind="tag")
    lab.run(120, 60)
    assert sum(counted_runs(lab.exporter.text).values()) == 1
    assert sum(counted_jobs(lab.exporter.text).values()) == 1
    lab.calls()
    lab.pipeline(ref="topic")
    lab.run(120, 60)
    assert JOBS not in lab.calls()


def test_another_choice_of_refs_shows_what_is_known_and_loses_nothing(lab: GitHubLab) -> None:
    lab.pipeline({"name": "unit", "queue": 9}, ref="topic")
    lab.pipeline()
    lab.run(120, 60)
    lab.restart(refs={"branches": {"regexp": ".*"}})
    lab.exporter.poll()
    assert lab.exporter.value("ci_pipeline_last_queue_duration_seconds", ref="topic") == 10
    agrees(lab)


def test_a_cursor_that_cannot_be_read_counts_nothing_twice(lab: GitHubLab) -> None:
    lab.pipeline()
    lab.run(120, 60)
    states = lab.exporter.rounds.states()
    for state in states:
        lab.exporter.store.save(state.stored.id, Batch(cursor="{broken"), lab.clock.now())
    lab.restart()
    lab.exporter.poll()
    agrees(lab)


def test_a_token_that_may_read_nothing_but_actions_suffices(lab: GitHubLab) -> None:
    lab.server.faults({"kind": "status", "status": 403, "path": "/(git|pulls)"})
    lab.pipeline(ref="topic")
    lab.run(120, 60)
    lab.calls()
    lab.run(120, 60)
    assert set(lab.calls()) == {RUNS}
    agrees(lab)


def test_an_empty_repository_is_no_trouble(lab: GitHubLab) -> None:
    lab.server.faults({"kind": "status", "status": 409, "path": "/git/"})
    lab.advance(3600)
    visits = lab.exporter.poll()
    assert FetchResult.ERROR not in {visit.result for visit in visits if visit}
    lab.calls()
    lab.exporter.poll()
    assert lab.calls() == {RUNS: 1}


def test_a_job_counts_when_it_ends_though_its_run_goes_on(lab: GitHubLab) -> None:
    lab.pipeline({"name": "short"}, {"name": "long", "seconds": 3600})
    lab.run(180, 60)
    assert counted_jobs(lab.exporter.text) == {("acme/p", "", "short", "success", ""): 1}
    used = lab.server.limits()["used"]
    lab.exporter.poll()
    assert lab.server.limits()["used"] == used
    lab.run(3600, 600)
    agrees(lab)


def test_what_sort_many_refs_are_is_asked_in_one_call(lab: GitHubLab) -> None:
    for number in range(6):
        lab.pipeline(ref=f"topic-{number}")
    lab.pipeline(ref="v1", ref_kind="tag")
    lab.advance(120)
    lab.exporter.poll()
    calls = lab.calls()
    assert calls["GET /repos/:repo/git/matching-refs/:name"] == 1
    assert "GET /repos/:repo/git/ref/:name" not in calls
    agrees(lab)


def test_a_run_that_is_too_old_for_the_newest_page_is_looked_at_until_it_ends(
    make_lab: Callable[..., GitHubLab],
) -> None:
    lab = make_lab(per_page=2)
    lab.pipeline({"name": "long", "seconds": 3000})
    lab.run(60, 30)
    for _ in range(4):
        lab.pipeline({"name": "short", "seconds": 1})
        lab.run(60, 30)
    assert lab.exporter.value("ci_pipeline_runs_active", status="running") == 1
    lab.run(4_200, 300)
    assert lab.exporter.value("ci_pipeline_runs_active") is None
    agrees(lab)


def test_windows_that_no_longer_fit_on_a_page_are_divided(make_lab: Callable[..., GitHubLab]) -> None:
    lab = make_lab(per_page=8, rediscover_interval_seconds=600)
    runs = []
    for _ in range(24):
        runs.append(lab.pipeline())
        lab.advance(60)
    lab.run(600, 60)
    lab.restart(per_page=3)
    lab.act("rerun", project="acme/p", pipeline_id=runs[1])
    lab.act("rerun", project="acme/p", pipeline_id=runs[10])
    lab.run(1_800, 60)
    agrees(lab)


def test_slower_matters_that_fail_are_put_off_and_told(lab: GitHubLab) -> None:
    lab.pipeline()
    lab.advance(1_900)
    lab.server.faults({"kind": "status", "status": 500, "path": "/git/"})
    lab.exporter.poll()
    agrees(lab)
    lab.server.faults()
    lab.calls()
    lab.exporter.poll()
    assert lab.calls()["GET /repos/:repo/git/matching-refs/:name"] == 2


def test_jobs_of_history_are_read_if_they_are_to_be_shown(tmp_path: Path) -> None:
    with github() as server:
        server.action("create_project", path="acme/p")
        server.action("new_pipeline", project="acme/p", jobs=[{"name": "unit"}])
        now = server.advance(600)
        lab = GitHubLab(server, tmp_path, jobs={"status": True})
        lab.exporter.close()
        lab.clock.advance((datetime.fromisoformat(now) - lab.clock.now()).total_seconds())
        (tmp_path / "runs.db").unlink()
        lab.restart()
        lab.exporter.poll()
        lab.exporter.poll()
        assert lab.exporter.value("ci_job_status", job="unit", status="success") == 1
        assert counted_jobs(lab.exporter.text) == {}
        lab.close()
