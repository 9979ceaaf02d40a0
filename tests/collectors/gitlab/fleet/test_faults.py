"""Runners of a GitLab that refuses, fails, is old, or answers nonsense."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from exporter.runnermetrics import FetchResult
from tests.support.fleet import ACME, DETAIL, GRAPHQL, LIST, REST, Made, queue, runner, samples, troubles

FAULTS = (
    {"kind": "status", "status": 500},
    {"kind": "cut"},
    {"kind": "truncated_json"},
    {"kind": "drop"},
    {"kind": "html"},
)
OLD = ("CiRunner.managers", "CiRunner.jobExecutionStatus", "CiRunner.projects", "Query.jobs")


# -- what GraphQL lacks ----------------------------------------------------------------------------


@pytest.mark.parametrize("missing", OLD)
def test_a_version_that_lacks_a_field_is_read_over_rest(
    fleet_of: Made, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lab = fleet_of({"graphql_missing": (missing,)})
    number = runner(lab)
    lab.pipeline({"name": "a", "tags": ["docker"], "run": 900})
    lab.advance(60)
    samples(lab)
    assert lab.exporter.value("ci_runner_jobs_running", runner=number) == 1
    lab.calls()
    samples(lab)
    asked = lab.calls().get(GRAPHQL, 0)
    assert asked == (1 if missing == "Query.jobs" else 0)
    told = [record for record in caplog.records if "lacks a field" in repr(vars(record))]
    assert len(told) in (1, 2)


def test_graphql_that_is_switched_off_is_asked_once_until_the_next_discovery(fleet_of: Made) -> None:
    lab = fleet_of()
    runner(lab)
    lab.act("set_graphql", enabled=False)
    samples(lab)
    assert lab.exporter.value("ci_runner_online") == 1
    asked = [lab.calls()[GRAPHQL]]
    for again in (lambda: None, lab.exporter.discover):
        again()
        samples(lab)
        asked.append(lab.calls().get(GRAPHQL, 0))
    assert asked == [1, 0, 1]


def test_a_page_that_is_too_complex_is_halved(fleet_of: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.gitlab.standin.graphql_api.LIMIT", 60)
    lab = fleet_of({"runners": 30})
    samples(lab)
    assert lab.exporter.value("ci_runners") == 30
    assert LIST not in lab.calls()


# -- what a token may not --------------------------------------------------------------------------


def test_a_scope_that_is_refused_is_told_and_the_others_are_shown(fleet_of: Made) -> None:
    lab = fleet_of({"admin": False}, groups=["acme"], projects=["acme/gone"])
    runner(lab)
    samples(lab)
    assert lab.exporter.value("ci_runner_online") == 1
    assert troubles(lab).startswith("instance, project acme/gone: forbidden: instance: GitLab says 403")
    assert "project acme/gone: GitLab says 404" in troubles(lab)


def test_runners_are_shown_though_the_projects_of_their_group_are_hidden(fleet_of: Made) -> None:
    lab = fleet_of(**ACME)
    runner(lab)
    lab.server.faults({"kind": "status", "status": 403, "path": "/groups/acme/projects"})
    samples(lab)
    assert lab.exporter.value("ci_runner_online") == 1
    assert troubles(lab).startswith("group acme: forbidden")


def test_series_vanish_when_no_scope_can_be_read_any_more(fleet_of: Made) -> None:
    lab = fleet_of()
    runner(lab)
    assert samples(lab)
    lab.act("set_admin", admin=False)
    assert samples(lab) == []
    assert "forbidden: instance: GitLab says 403" in troubles(lab)
    assert "administrator" in troubles(lab)
    lab.act("set_admin", admin=True)
    lab.exporter.discover()
    assert samples(lab)


def test_runners_whose_details_are_hidden_are_shown_with_what_is_known(fleet_of: Made) -> None:
    lab = fleet_of(**ACME, **REST)
    number = runner(lab, description="hidden")
    lab.pipeline({"name": "a", "tags": ["gpu"]})
    lab.advance(30)
    lab.server.faults({"kind": "status", "status": 403, "path": f"/runners/{number}"})
    samples(lab)
    assert lab.exporter.value("ci_runner_online", runner=number) == 1
    assert lab.exporter.value("ci_runner_last_contact_timestamp_seconds") is None
    assert lab.exporter.value("ci_runner_jobs_running") in (None, 0)
    assert queue(lab) == {("instance", "gpu"): 1}  # nobody knows that it does not have that tag


# -- what fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [{}, {**ACME, **REST}], ids=["graphql", "rest"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault["kind"]))
def test_what_was_shown_stays_while_gitlab_fails(
    fleet_of: Made, fault: dict[str, Any], block: dict[str, Any]
) -> None:
    lab = fleet_of(**block)
    number = runner(lab)
    before = samples(lab)
    lab.act("set_runner", runner=int(number), paused=True)
    lab.server.faults(fault)
    visits = lab.exporter.poll()
    assert [visit.result for visit in visits if visit] == [FetchResult.ERROR]
    lab.server.faults()
    shown = [line for line in lab.exporter.text.splitlines() if not line.startswith("#")]
    assert shown == before
    assert samples(lab) != before


@pytest.mark.parametrize("skip", [1, 2], ids=["running and waiting", "waiting"])
def test_a_question_about_jobs_that_fails_costs_no_runner(fleet_of: Made, skip: int) -> None:
    lab = fleet_of()
    number = runner(lab)
    lab.pipeline({"name": "a", "tags": ["gpu"]})
    lab.advance(30)
    samples(lab)
    lab.act("set_runner", runner=int(number), paused=True)
    lab.server.faults({"kind": "status", "status": 500, "skip": skip})
    visits = lab.exporter.poll()
    assert [visit.result for visit in visits if visit] == [FetchResult.ERROR]
    assert lab.exporter.value("ci_runner_paused", runner=number) == 1
    assert lab.exporter.value("ci_runner_queue_jobs") is None
    lab.server.faults()
    samples(lab)
    assert lab.exporter.value("ci_runner_queue_jobs") == 1


def test_a_token_that_is_refused_in_the_middle_stops_everything(fleet_of: Made) -> None:
    lab = fleet_of()
    samples(lab)
    lab.server.faults({"kind": "status", "status": 401, "skip": 1})
    lab.exporter.poll()
    assert "401" in (lab.exporter.rounds.halted or "")


def test_pages_that_overlap_count_no_running_job_twice(
    fleet_of: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = fleet_of()
    number = runner(lab)
    lab.pipeline({"name": "a", "tags": ["docker"], "run": 900})
    lab.advance(60)
    graphql = lab.exporter.collector._client.graphql
    ask = graphql._ask

    def twice(operation: str, question: Any) -> Any:
        answer = ask(operation, question)
        next(iter(answer["data"].values()))["nodes"] *= 2
        return answer

    monkeypatch.setattr(graphql, "_ask", twice)
    samples(lab)
    assert lab.exporter.value("ci_runner_jobs_running", runner=number) == 1


def test_a_queue_that_is_cut_is_told(fleet_of: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.gitlab.fleet.queue._MOST_JOBS", 2)
    lab = fleet_of()
    for tags, cut in ((["gpu"], False), (["gpu"], False), (["arm"], True)):
        lab.pipeline({"name": "a", "tags": tags})
        lab.advance(30)
        samples(lab)
        assert troubles(lab).startswith("waiting jobs: too_many") is cut
    assert queue(lab) == {("none", "gpu"): 1, ("none", "arm"): 1}


def test_waits_longer_and_longer_while_gitlab_fails(fleet_of: Made) -> None:
    lab = fleet_of()
    lab.server.faults({"kind": "status", "status": 500})
    waits = [visit.wait for _ in range(5) for visit in lab.exporter.poll() if visit]
    assert waits == [60, 120, 240, 300, 300]


def test_a_refused_token_stops_everything(fleet_of: Made, caplog: pytest.LogCaptureFixture) -> None:
    lab = fleet_of()
    lab.act("set_token", token="another")
    lab.calls()
    lab.exporter.poll()
    assert sum(lab.calls().values()) == 1
    assert "401" in (lab.exporter.rounds.halted or "")


def test_being_asked_to_wait_is_obeyed(fleet_of: Made) -> None:
    lab = fleet_of()
    fault = {"kind": "status", "status": 429, "retry_after": 300}
    lab.server.faults(fault)
    visits = lab.exporter.poll()
    assert [visit.at_least for visit in visits if visit] == [300]


@pytest.mark.parametrize("wrong", ["object", "null", "string", "string_ids"])
@pytest.mark.parametrize("block", [{}, {**ACME, **REST}], ids=["graphql", "rest"])
def test_an_answer_of_another_shape_is_no_bug(
    fleet_of: Made, wrong: str, block: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    lab = fleet_of(**block)
    runner(lab)
    samples(lab)
    lab.server.faults({"kind": "wrong_shape", "shape": wrong})
    lab.exporter.poll()
    assert "poll raised" not in caplog.text


@pytest.mark.parametrize("block", [{}, {**ACME, **REST}], ids=["graphql", "rest"])
def test_no_log_line_shows_the_token(
    fleet_of: Made, block: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lab = fleet_of(**block)
    for fault in (*FAULTS, {"kind": "status", "status": 403}, {"kind": "status", "status": 401}):
        lab.server.faults(fault)
        lab.exporter.poll()
    assert caplog.records
    written = [record.getMessage() + repr(vars(record)) for record in caplog.records]
    assert [text for text in written if lab.server.token in text] == []


def test_the_end_of_the_program_ends_a_long_poll(fleet_of: Made) -> None:
    lab = fleet_of({"runners": 20}, **REST)
    lab.exporter.stopping.set()
    assert lab.exporter.poll() == [None]
    assert DETAIL not in lab.calls()
