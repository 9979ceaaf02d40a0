"""How much is asked, what is shown, and what a poll does when a part of Gitea cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectors._standin.times import HOUR, SECOND, parse
from tests.support.giteas import GiteaLab, gitea
from tests.support.harness import START

NAMED: dict[str, Any] = {"instance": False, "repositories": ["acme/p", "acme/q"]}
ORGANIZATION: dict[str, Any] = {"instance": False, "organizations": ["acme"]}


@pytest.mark.parametrize("block", [{}, ORGANIZATION], ids=["instance", "organization"])
def test_a_round_without_news_costs_one_call_for_all_repositories(
    lab: GiteaLab, block: dict[str, Any]
) -> None:
    lab.restart(**block)
    lab.run(60, 30)
    lab.calls()
    lab.run(60, 60)
    assert lab.calls() == {"GET /jobs": 1}


def test_without_a_list_of_all_an_idle_repository_costs_one_call(lab: GiteaLab) -> None:
    lab.restart(**NAMED)
    lab.run(60, 30)
    lab.calls()
    lab.run(60, 60)
    assert lab.calls() == {"GET /jobs": 2}


def test_a_list_that_may_not_be_read_is_not_needed(lab: GiteaLab) -> None:
    lab.server.faults({"kind": "status", "status": 403, "path": "/admin/actions/"})
    lab.pipeline()
    lab.run(60, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", project="acme/p", status="success") == 1


def test_a_finished_run_costs_the_list_the_run_and_its_jobs(lab: GiteaLab) -> None:
    lab.pipeline()
    lab.advance(60)
    lab.calls()
    lab.exporter.poll()
    assert lab.calls() == {"GET /jobs": 2, "GET /run": 1, "GET /attempt_jobs": 1}


def test_news_of_a_repository_wake_it_though_another_one_asked(
    lab: GiteaLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    overview = next(iter(lab.exporter.collector._overviews.values()))
    monkeypatch.setattr(overview, "_wake", woken.append)
    lab.run(30, 30)
    lab.pipeline(project="acme/q")
    lab.advance(60)
    first, second = lab.exporter.rounds.states()
    lab.exporter.rounds.visit(first)
    assert woken == [second.stored.unit.key]


def test_what_is_shown_of_a_run(lab: GiteaLab) -> None:
    lab.pipeline({"name": "unit", "seconds": 30, "queue": 4}, ref="v1", ref_kind="tag", source="release")
    lab.run(60, 60)
    run = {"provider": "gitea", "project": "acme/p", "pipeline": "ci.yml", "source": "release"}
    ref = {**run, "ref": "v1", "ref_kind": "tag"}
    assert lab.exporter.value("ci_pipeline_status", **ref, status="success") == 1
    assert lab.exporter.value("ci_pipeline_last_duration_seconds", **ref) == 30
    assert lab.exporter.value("ci_pipeline_last_queue_duration_seconds", **ref) == 5
    job = {"provider": "gitea", "project": "acme/p", "stage": "", "job": "unit"}
    assert lab.exporter.value("ci_job_run_queue_duration_seconds_sum", **job) == 5
    assert lab.exporter.value("ci_job_run_duration_seconds_sum", **job) == 30


def test_runs_that_go_on_are_shown_while_they_do(lab: GiteaLab) -> None:
    lab.pipeline({"name": "build", "seconds": 50}, {"name": "unit", "stage": "test", "queue": 100})
    for status in ("running", "running", "running"):
        lab.run(30, 30)
        assert lab.exporter.value("ci_pipeline_runs_active", status=status) == 1
    lab.run(120, 30)
    assert lab.exporter.value("ci_pipeline_runs_active") is None


def test_the_newest_runs_from_before_the_start_are_shown_and_not_counted(tmp_path: Path) -> None:
    with gitea(start=parse(START) - HOUR) as server:
        server.action("create_project", path="acme/p")
        server.action("new_pipeline", project="acme/p", jobs=[{"name": "unit"}])
        server.advance(HOUR / SECOND)
        lab = GiteaLab(server, tmp_path)
        lab.run(90, 30)
        assert lab.exporter.value("ci_pipeline_status", status="success") == 1
        assert lab.exporter.value("ci_pipeline_last_queue_duration_seconds") == 3
        assert lab.exporter.value("ci_pipeline_runs_total") is None
        lab.close()


def test_history_is_counted_when_asked_for(tmp_path: Path) -> None:
    with gitea(projects=2, history_days=3, history_runs_per_hour=2.0) as server:
        lab = GiteaLab(server, tmp_path, backfill_days=2)
        lab.exporter.poll()
        ended = [entry for entry in server.truth()["executions"] if entry["kind"] == "pipeline"]
        recent = [entry for entry in ended if entry["finished_at"] >= "2026-02-28T08:00:00"]
        assert lab.exporter.value("ci_pipeline_runs_total") == len(recent) > 60
        lab.close()


def test_refs_that_are_gone_lose_their_series(lab: GiteaLab) -> None:
    run = lab.pipeline(ref="refs/pull/7/head", ref_kind="change_request", source="pull_request")
    lab.run(60, 30)
    assert lab.exporter.value("ci_pipeline_status", ref="refs/pull/7/head") == 1
    lab.act("delete_run", project="acme/p", pipeline_id=run)
    lab.run(1860, 60)
    assert lab.exporter.value("ci_pipeline_status", ref="refs/pull/7/head") is None


def test_only_selected_refs_count_when_so_told_and_others_are_read_once(lab: GiteaLab) -> None:
    lab.restart(refs={"count": "selected"}, **NAMED)
    lab.pipeline(ref="feature/x")
    lab.pipeline()
    lab.run(90, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 1
    lab.calls()
    lab.run(30, 30)
    assert "GET /run" not in lab.calls()


def test_a_run_that_nobody_understands_holds_up_no_other(lab: GiteaLab) -> None:
    bad = lab.pipeline()
    lab.pipeline()
    lab.server.faults({"kind": "wrong_shape", "shape": "null", "path": f"/runs/{bad}$"})
    lab.run(150, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 1
    lab.server.faults()
    lab.run(90, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 2


def test_a_renamed_or_missing_repository_is_told(lab: GiteaLab) -> None:
    lab.restart(instance=False, repositories=["acme/p", "acme/none"])
    discovery = lab.exporter.collector.discover()
    assert [unit.name for unit in discovery.units] == ["acme/p"]
    assert [(trouble.name, trouble.reason.value) for trouble in discovery.troubles] == [
        ("acme/none", "not_found")
    ]


def test_an_empty_repository_is_no_trouble(lab: GiteaLab, recorded: Callable[[str], Any]) -> None:
    assert recorded("branches_of_an_empty_repository") is None
    lab.act("create_project", path="acme/empty", default_branch="")
    lab.exporter.discover()
    lab.run(60, 30)
    assert [state.trouble for state in lab.exporter.rounds.states()] == [None] * 3


def test_a_long_list_is_read_to_its_end(lab: GiteaLab) -> None:
    for number in range(120):
        lab.act("create_project", path=f"acme/r{number}")
    lab.exporter.discover()
    assert len(lab.exporter.rounds.states()) == 122
