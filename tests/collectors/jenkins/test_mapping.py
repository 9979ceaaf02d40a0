"""Jenkins' words, times and numbers as records; nothing else than a bad answer comes of what is none."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.jenkins import mapping
from collectors.jenkins.stages import stages as stages_of
from exporter.errors import BadAnswer
from exporter.model.runs import PipelineRun, RefKind, Status

# As a Jenkins 2.4xx with git, metrics and Pipeline answers; names and ids are ours.
BUILD: dict[str, Any] = {
    "_class": "org.jenkinsci.plugins.workflow.job.WorkflowRun",
    "actions": [
        {
            "_class": "hudson.model.CauseAction",
            "causes": [
                {"_class": "hudson.model.Cause$UserIdCause", "userId": "alice"},
                {"_class": "org.jenkinsci.plugins.workflow.cps.replay.ReplayCause"},
            ],
        },
        {},
        {"_class": "jenkins.metrics.impl.TimeInQueueAction", "queuingDurationMillis": 1500},
        {
            "_class": "hudson.plugins.git.util.BuildData",
            "lastBuiltRevision": {
                "SHA1": "c6d86dc654b12425e706bcf951adfe5a8627a517",
                "branch": [
                    {"SHA1": "c6d86dc654b12425e706bcf951adfe5a8627a517", "name": "refs/remotes/origin/main"}
                ],
            },
        },
        {"_class": "org.jenkinsci.plugins.workflow.job.views.FlowGraphAction"},
    ],
    "building": False,
    "duration": 61_250,
    "number": 17,
    "result": "SUCCESS",
    "timestamp": 1_772_438_400_500,
}


def unknown(kind: str) -> None:
    heard.append(kind)


heard: list[str] = []


def run_of(changes: dict[str, Any], **more: Any) -> PipelineRun:
    heard.clear()
    known: dict[str, Any] = {
        "ref": None,
        "kind": RefKind.BRANCH,
        "url": "https://ci.example.com/job/p/",
        "unstable": "failed",
        "selects": lambda kind, ref: ref == "main",
        "unknown": unknown,
        **more,
    }
    return mapping.run(mapping.build({**BUILD, **changes}, unknown), **known)


def test_a_build_becomes_a_run() -> None:
    at = datetime(2026, 3, 2, 8, 0, 0, 500_000, tzinfo=UTC)
    assert run_of({}) == PipelineRun(
        run_id=17,
        number=17,
        ref="main",
        ref_kind=RefKind.BRANCH,
        source="replay",
        status=Status.SUCCESS,
        created_at=at.replace(second=59, minute=59, hour=7, microsecond=0),
        updated_at=at.replace(minute=1, second=1, microsecond=750_000),
        started_at=at,
        finished_at=at.replace(minute=1, second=1, microsecond=750_000),
        duration_seconds=61.25,
        queue_seconds=1.5,
        username="alice",
        web_url="https://ci.example.com/job/p/17/",
        sha="c6d86dc654b12425e706bcf951adfe5a8627a517",
        selected=True,
    )


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"building": True, "result": None, "duration": 0}, Status.RUNNING),
        ({"building": True, "result": "UNSTABLE"}, Status.RUNNING),
        ({"building": False, "result": None}, Status.RUNNING),
        ({"result": "FAILURE"}, Status.FAILED),
        ({"result": "ABORTED"}, Status.CANCELED),
        ({"result": "NOT_BUILT"}, Status.SKIPPED),
        ({"result": "UNSTABLE"}, Status.FAILED),
        ({"result": "MARVELOUS"}, Status.UNKNOWN),
    ],
)
def test_results_are_mapped(changes: dict[str, Any], status: Status) -> None:
    run = run_of(changes)
    assert run.status is status
    assert (run.finished_at is None) == (not status.finished)
    assert heard == (["status"] if status is Status.UNKNOWN else [])


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("refs/remotes/origin/feature/x", "feature/x"),
        ("origin/main", "main"),
        ("refs/remotes/upstream/main", "main"),
        ("refs/tags/v1", "v1"),
        ("release/1.2", "release/1.2"),
        ("detached", ""),
    ],
)
def test_the_branch_is_told_without_its_remote(name: str, ref: str) -> None:
    data = {"lastBuiltRevision": {"SHA1": "ab", "branch": [{"name": name}]}}
    run = run_of({"actions": [data]})
    assert (run.ref, run.selected) == (ref, ref in ("", "main"))


def test_of_several_repositories_none_is_taken_for_the_one() -> None:
    data = [{"lastBuiltRevision": {"SHA1": sha, "branch": [{"name": "origin/main"}]}} for sha in ("ab", "cd")]
    run = run_of({"actions": data})
    assert (run.ref, run.sha) == ("", None)
    assert run_of({"actions": [data[0], data[0]]}).sha == "ab"


def test_ids_of_branches_are_apart_and_fit_everywhere() -> None:
    ids = {mapping.run_id(f"branch-{branch}", number) for branch in range(200) for number in range(1, 50)}
    assert len(ids) == 200 * 49
    assert max(ids) < 2**52
    assert mapping.run_id("main", 5) < mapping.run_id("main", 6)
    assert mapping.number_of("main", mapping.run_id("main", 1234)) == 1234
    assert mapping.run_id(None, 1234) == mapping.number_of(None, 1234) == 1234


@pytest.mark.parametrize(("job", "ref"), [("feature%2Fx", "feature/x"), ("a%20b", "a b"), ("main", "main")])
def test_the_job_of_a_branch_is_called_as_the_branch_with_signs_encoded(job: str, ref: str) -> None:
    assert mapping.ref_of(job) == ref


def stage(number: int, name: str, status: str = "SUCCESS", **more: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "name": name,
        "status": status,
        "startTimeMillis": 1_772_438_401_000,
        "durationMillis": 9000,
        "pauseDurationMillis": 0,
        **more,
    }


def stages(*given: dict[str, Any], unstable: str = "failed") -> list[Any]:
    heard.clear()
    return stages_of({"stages": list(given)}, run_of({}), unstable=unstable, unknown=unknown)


def test_stages_become_jobs() -> None:
    (job,) = stages(stage(6, "Build", pauseDurationMillis=4000))
    assert (job.run_id, job.stage, job.name, job.status) == (17, "", "Build", Status.SUCCESS)
    assert (job.finished_at - job.started_at).total_seconds() == 9
    assert (job.duration_seconds, job.queue_seconds) == (5, None)


@pytest.mark.parametrize(
    ("word", "status", "reason"),
    [
        ("FAILED", Status.FAILED, "unknown"),
        ("UNSTABLE", Status.FAILED, "unknown"),
        ("ABORTED", Status.CANCELED, ""),
        ("NOT_EXECUTED", Status.SKIPPED, ""),
        ("PAUSED_PENDING_INPUT", Status.CANCELED, ""),
        ("OTHER", Status.UNKNOWN, ""),
    ],
)
def test_stages_end_as_jenkins_says(word: str, status: Status, reason: str) -> None:
    (job,) = stages(stage(6, "Build", word))
    assert (job.status, job.failure_reason) == (status, reason)
    assert (job.started_at is None) == (status is Status.SKIPPED)


def test_stages_of_one_name_are_no_retries_of_each_other() -> None:
    jobs = stages(stage(31, "test"), stage(9, "test"), stage(20, "deploy"))
    assert [job.name for job in jobs] == ["test", "deploy", "test (2)"]
    assert len({job.job_id for job in jobs}) == 3
    assert all(job.job_id < 2**53 for job in jobs)


def test_stages_of_a_build_of_the_same_number_in_a_job_made_anew_are_others() -> None:
    old = stages(stage(6, "Build"))[0].job_id
    new = stages_of(
        {"stages": [stage(6, "Build")]}, run_of({"timestamp": 1}), unstable="failed", unknown=unknown
    )
    assert new[0].job_id != old


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(key=st.sampled_from(sorted(BUILD)), value=ANYTHING)
def test_whatever_stands_in_a_build_it_is_read_or_a_bad_answer(key: str, value: Any) -> None:
    with suppress(BadAnswer):
        run = run_of({key: value})
        assert 0 <= run.run_id < 2**63
        json.dumps([run.ref, run.sha, run.username], ensure_ascii=False).encode()


@given(body=ANYTHING, key=st.sampled_from(["id", "name", "status", "startTimeMillis", "durationMillis"]))
def test_whatever_stands_in_stages_it_is_read_or_a_bad_answer(body: Any, key: str) -> None:
    for given_body in (body, {"stages": body}, {"stages": [{**stage(1, "a"), key: body}]}):
        with suppress(BadAnswer):
            stages_of(given_body, run_of({}), unstable="failed", unknown=unknown)


@given(body=ANYTHING, key=st.sampled_from(["name", "jobs", "lastBuild", "_class", "views"]))
def test_whatever_stands_in_a_list_of_jobs_it_is_read_or_a_bad_answer(body: Any, key: str) -> None:
    for given_body in (body, {"name": "a", "jobs": [], key: body}):
        with suppress(BadAnswer):
            mapping.item(given_body, "", unknown)
        with suppress(BadAnswer):
            mapping.ref_kinds(given_body)
