"""GitLab's webhooks: their proofs, today's payloads, old ones, and senseless ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from collectors.gitlab.hooks import HookReader
from collectors.gitlab.reader import Memory, RunRef
from collectors.gitlab.settings import GitLabConfig
from exporter.contract import Batch, Unit
from exporter.hooks import AcceptsHooks, Hook, HookNews, NotUnderstood
from exporter.model.events import RUNS
from exporter.model.runners import RunnerType
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from tests.collectors.gitlab.test_hooks_exactly_once import deliver
from tests.support.harness import SINK, Lab
from tests.support.truth import counted_jobs, counted_runs

FIXTURES = Path(__file__).with_name("fixtures") / "webhooks"
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
UNIT = Unit("101", "acme/p")
BUILD: dict[str, Any] = {
    "id": 8,
    "stage": "test",
    "name": "unit",
    "status": "success",
    "created_at": "2026-03-02 08:00:00 UTC",
    "started_at": "2026-03-02 08:00:05 UTC",
    "finished_at": "2026-03-02 08:01:05 UTC",
    "duration": 60.25,
    "queued_duration": 1.5,
    "failure_reason": None,
    "allow_failure": False,
    "runner": {"runner_type": "instance_type"},
}
ATTRIBUTES: dict[str, Any] = {
    "id": 46,
    "ref": "main",
    "tag": False,
    "sha": "0ff3ae198f8601a285adcf5c0fff204ee6fba5fd",
    "source": "push",
    "status": "success",
    "created_at": "2026-03-02 08:00:00 UTC",
    "finished_at": "2026-03-02 08:01:06 UTC",
    "duration": 60,
    "queued_duration": 4,
    "variables": [{"key": "PASSWORD", "value": "swordfish"}],
    "url": "https://gitlab.test/acme/p/-/pipelines/46",
}
PIPELINE: dict[str, Any] = {
    "object_kind": "pipeline",
    "object_attributes": ATTRIBUTES,
    "merge_request": None,
    "user": {"username": "ada"},
    "project": {"id": 101, "path_with_namespace": "acme/p", "web_url": "https://gitlab.test/acme/p"},
    "commit": {"message": "Mend it\n\nAt last.", "title": "Mend it"},
    "builds": [BUILD],
}
JOB: dict[str, Any] = {
    "object_kind": "build",
    "ref": "main",
    "tag": False,
    **{f"build_{key}": value for key, value in BUILD.items()},
    "build_finished_at": "2026-03-02T08:01:05.250Z",
    "pipeline_id": 46,
    "project_id": 101,
    "project_name": "Acme / The P",
    "runner": {"runner_type": "instance_type"},
}
DEFAULTS = GitLabConfig()


def pipeline(**attributes: Any) -> dict[str, Any]:
    """`PIPELINE` with other attributes; a name of the payload itself beats one of them."""
    outer = {key: value for key, value in attributes.items() if key in PIPELINE or key == "source_pipeline"}
    inner = {key: value for key, value in attributes.items() if key not in outer}
    return PIPELINE | outer | {"object_attributes": ATTRIBUTES | inner}


def hook(body: object, **headers: str) -> Hook:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Hook({name.replace("_", "-"): value for name, value in headers.items()}, raw, NOW)


def reader(config: GitLabConfig = DEFAULTS, known: Mapping[int, RunRef] | None = None) -> HookReader:
    memory = Memory()
    for run_id, ref in (known or {}).items():
        memory.note_ref(("101", run_id), ref)
    return HookReader(config, memory, lambda _: None)


MAIN = {46: RunRef(RefKind.BRANCH, "main", True)}


def run_in(news: list[HookNews]) -> PipelineRun:
    assert news[0].batch
    (run,) = news[0].batch.runs
    return run


def is_a_poke(news: list[HookNews]) -> bool:
    return [one.unit.key for one in news] == ["101"] and news[0].batch is None


# -- proofs ------------------------------------------------------------------------------------------

KEY = b"k" * 32
TOKEN = "whsec_" + base64.b64encode(KEY).decode()


def signed(body: bytes = b"{}", *, key: bytes = KEY, at: datetime = NOW, number: str = "7") -> dict[str, str]:
    moment = str(int(at.timestamp()))
    made = hmac.new(key, f"{number}.{moment}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(made).decode()}"
    return {"webhook_id": number, "webhook_timestamp": moment, "webhook_signature": signature}


def authentic(lab: Lab, given: Hook) -> bool:
    assert isinstance(lab.exporter.collector, AcceptsHooks)
    return lab.exporter.collector.hook_is_authentic(given)


def test_without_a_secret_no_hook_is_accepted(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of()
    assert not lab.exporter.collector.accepts_hooks()
    assert not authentic(lab, hook({}))
    assert not authentic(lab, hook({}, x_gitlab_token=""))


def test_the_secret_token_proves_a_hook(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(hooks={"secret": "s3cret"})
    assert lab.exporter.collector.accepts_hooks()
    assert authentic(lab, hook({}, x_gitlab_token="s3cret"))
    for wrong in ({}, {"x_gitlab_token": ""}, {"x_gitlab_token": "s3cre"}, {"x_gitlab_token": "s\udcff"}):
        assert not authentic(lab, hook({}, **wrong))


def test_with_a_signing_token_only_the_signature_proves_a_hook(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(hooks={"secret": "s3cret", "signing_token": TOKEN})
    assert authentic(lab, hook({}, **signed()))
    assert not authentic(lab, hook({}, x_gitlab_token="s3cret"))
    assert not authentic(lab, hook({"more": 1}, **signed()))
    assert not authentic(lab, hook({}, **signed(key=b"other")))
    assert not authentic(lab, hook({}, **signed() | {"webhook_id": "8"}))
    assert not authentic(lab, hook({}, **signed() | {"webhook_signature": ""}))


def test_one_of_several_signatures_is_enough(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(hooks={"signing_token": TOKEN})
    good, other = signed()["webhook_signature"], signed(key=b"other")["webhook_signature"]
    assert authentic(lab, hook({}, **signed() | {"webhook_signature": f"{other} {good}"}))
    assert not authentic(lab, hook({}, **signed() | {"webhook_signature": f"{other} v1,\udcff v2,x"}))


@pytest.mark.parametrize(
    ("seconds", "fits"), [(0, True), (-300, True), (300, True), (-301, False), (301, False)]
)
def test_a_signature_holds_for_five_minutes(lab_of: Callable[..., Lab], seconds: int, fits: bool) -> None:
    lab = lab_of(hooks={"signing_token": TOKEN})
    assert authentic(lab, hook({}, **signed(at=NOW + timedelta(seconds=seconds)))) is fits


@pytest.mark.parametrize("moment", ["", "now", "-1", "1e9", "9" * 5000, "٣"])
def test_a_signature_without_a_time_proves_nothing(lab_of: Callable[..., Lab], moment: str) -> None:
    lab = lab_of(hooks={"signing_token": TOKEN})
    assert not authentic(lab, hook({}, **signed() | {"webhook_timestamp": moment}))


@pytest.mark.parametrize("token", ["", "whsec_", "whsec_?", "hunter2!"])
def test_a_signing_token_that_is_none_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValidationError, match="must be as GitLab shows it") as caught:
        GitLabConfig.model_validate({"hooks": {"signing_token": token}})
    assert "hunter2" not in str(caught.value)


def test_a_hook_that_is_sent_again_has_the_same_id(lab_of: Callable[..., Lab]) -> None:
    number = lab_of().exporter.collector.hook_id
    assert number(hook({}, idempotency_key="a", x_gitlab_webhook_uuid="b", x_gitlab_event_uuid="c")) == "a"
    assert number(hook({}, webhook_id="d")) == "d"
    assert number(hook({})) == ""


# -- pipelines ---------------------------------------------------------------------------------------


def test_a_finished_pipeline_needs_no_call() -> None:
    (news,) = reader().read(hook(PIPELINE))
    end = datetime(2026, 3, 2, 8, 1, 6, tzinfo=UTC)
    run = PipelineRun(
        run_id=46,
        ref="main",
        ref_kind=RefKind.BRANCH,
        source="push",
        status=Status.SUCCESS,
        created_at=NOW,
        updated_at=end - timedelta(microseconds=1),
        started_at=NOW + timedelta(seconds=4),
        finished_at=end,
        duration_seconds=60.0,
        queue_seconds=4.0,
        username="ada",
        web_url=ATTRIBUTES["url"],
        sha=ATTRIBUTES["sha"],
        commit_title="Mend it",
        ended_by=end - timedelta(seconds=1),
    )
    job = JobRun(
        job_id=8,
        run_id=46,
        stage="test",
        name="unit",
        status=Status.SUCCESS,
        created_at=NOW,
        started_at=NOW + timedelta(seconds=5),
        finished_at=NOW + timedelta(seconds=65),
        duration_seconds=60.25,
        queue_seconds=1.5,
        runner_type=RunnerType.INSTANCE,
        web_url="https://gitlab.test/acme/p/-/jobs/8",
    )
    assert news == HookNews(UNIT, Batch(runs=(run,), jobs=(job,)))


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T08:00:00Z",
        "2026-03-02 08:00:00 UTC",
        "2026-03-02 10:00:00 +0200",
        "2026-03-02T08:00:00.0Z",
    ],
)
def test_times_of_all_forms(text: str) -> None:
    assert run_in(reader().read(hook(pipeline(created_at=text)))).created_at == NOW


@pytest.mark.parametrize("text", [None, "soon", 5, "2026-03-02 08:00:00", "2026-03-02 08:00:00 CET"])
def test_a_pipeline_without_a_time_of_creation_is_not_understood(text: object) -> None:
    with pytest.raises(NotUnderstood):
        reader().read(hook(pipeline(created_at=text)))


@pytest.mark.parametrize(
    ("changes", "wait"),
    [
        ({"queued_duration": 0.01}, 0.01),
        ({"queued_duration": None}, 0.0),
        ({"queued_duration": None, "duration": None}, 0.0),
        ({"queued_duration": None, "builds": []}, 0.0),
        ({"queued_duration": None, "duration": None, "builds": [], "status": "canceled"}, None),
        ({"queued_duration": 1e300}, 0.0),
    ],
)
def test_a_wait_that_is_left_out_was_short_or_is_not_over(changes: Any, wait: float | None) -> None:
    assert run_in(reader().read(hook(pipeline(**changes)))).queue_seconds == wait


def test_an_unfinished_pipeline_is_as_of_the_newest_time_that_it_names() -> None:
    late = BUILD | {"status": "running", "started_at": "2026-03-02 08:03:00 UTC", "finished_at": None}
    told = reader().read(hook(pipeline(status="running", finished_at=None, builds=[BUILD, late])))
    assert run_in(told).updated_at == NOW + timedelta(minutes=3, microseconds=-1)
    assert len(told) == 1


def test_a_pipeline_that_goes_on_again_is_polled_for_how_it_ended_before() -> None:
    told = reader().read(hook(pipeline(status="running")))
    assert (run_in(told).status, run_in(told).finished_at, run_in(told).earlier) == (
        Status.RUNNING,
        None,
        None,
    )
    assert told[1:] == [HookNews(UNIT)]


@pytest.mark.parametrize("changes", [{"finished_at": None}, {"source": None}, {"tag": None}])
def test_what_the_payload_does_not_tell_is_polled(changes: dict[str, Any]) -> None:
    for one in (reader(), reader(known=MAIN)):
        assert is_a_poke(one.read(hook(pipeline(**changes))))


def test_a_skipped_pipeline_has_no_end() -> None:
    told = reader().read(hook(pipeline(status="skipped", finished_at=None, duration=None, builds=[])))
    assert (run_in(told).status, run_in(told).finished_at) == (Status.SKIPPED, None)


def test_the_ref_of_a_merge_request_is_learnt_once() -> None:
    changes = {"source": "merge_request_event", "ref": "feature", "merge_request": {"iid": 7}}
    assert is_a_poke(reader().read(hook(pipeline(**changes))))
    known = reader(known={46: RunRef(RefKind.CHANGE_REQUEST, "refs/merge-requests/7/head", True)})
    run = run_in(known.read(hook(pipeline(**changes))))
    assert (run.ref, run.ref_kind) == ("refs/merge-requests/7/head", RefKind.CHANGE_REQUEST)


def test_a_child_of_a_merge_request_has_the_ref_of_its_parent() -> None:
    changes = {
        "source": "parent_pipeline",
        "ref": "feature",
        "merge_request": {"iid": 7},
        "source_pipeline": {"pipeline_id": 45},
    }
    assert is_a_poke(reader().read(hook(pipeline(**changes))))
    parent = {45: RunRef(RefKind.CHANGE_REQUEST, "refs/merge-requests/7/merge", True)}
    assert run_in(reader(known=parent).read(hook(pipeline(**changes)))).ref == "refs/merge-requests/7/merge"


def test_children_are_left_out_where_they_are_not_wanted() -> None:
    one = reader(GitLabConfig(child_pipelines=False))
    assert one.read(hook(pipeline(source="parent_pipeline"))) == []
    assert one.read(hook(JOB)) == []


@pytest.mark.parametrize(
    ("ref", "tag", "counts"), [("main", False, True), ("x", False, False), ("x", True, True)]
)
def test_refs_that_do_not_count_are_left_out(ref: str, tag: bool, counts: bool) -> None:
    one = reader(GitLabConfig.model_validate({"refs": {"count": "selected"}}))
    told = one.read(hook(pipeline(ref=ref, tag=tag)))
    assert bool(told) is counts
    assert bool(one.read(hook(JOB))) is counts


def test_variables_reach_neither_records_nor_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert "swordfish" not in repr(reader().read(hook(PIPELINE)))
    with pytest.raises(NotUnderstood) as caught:
        reader().read(hook(pipeline(id=ATTRIBUTES["variables"])))
    assert "swordfish" not in str(caught.value) + caplog.text


# -- jobs --------------------------------------------------------------------------------------------


def test_a_job_of_a_known_pipeline_needs_no_call() -> None:
    (news,) = reader(known=MAIN).read(hook(JOB))
    assert news.unit.key == "101"
    assert news.batch
    (job,) = news.batch.jobs
    assert (job.job_id, job.run_id, job.name, job.status) == (8, 46, "unit", Status.SUCCESS)
    assert job.finished_at == NOW + timedelta(seconds=65.25)
    assert (job.queue_seconds, job.runner_type, job.failure_reason) == (1.5, RunnerType.INSTANCE, "")


def test_a_job_of_an_unknown_pipeline_is_polled_unless_it_only_waits() -> None:
    assert is_a_poke(reader().read(hook(JOB)))
    waits = {"build_status": "pending", "build_started_at": None, "build_finished_at": None}
    assert reader().read(hook(JOB | waits)) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"build_status": "created", "build_started_at": None, "build_finished_at": None}, False),
        ({"build_status": "pending", "build_started_at": None, "build_finished_at": None}, False),
        ({"build_status": "running", "build_finished_at": None}, True),
        ({"build_status": "skipped", "build_started_at": None, "build_finished_at": None}, True),
        ({"build_status": "canceled", "build_started_at": None}, True),
        ({"build_status": "success", "build_finished_at": None}, False),
    ],
)
def test_jobs_are_told_once_they_can_be_dated(changes: dict[str, Any], told: bool) -> None:
    assert bool(reader(known=MAIN).read(hook(JOB | changes))) is told


def test_no_jobs_where_none_are_wanted() -> None:
    one = reader(GitLabConfig.model_validate({"jobs": {"enabled": False}}))
    (news,) = one.read(hook(PIPELINE))
    assert news.batch
    assert news.batch.jobs == ()
    assert one.read(hook(JOB)) == []


# -- others ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "polled"),
    [
        ("push-event", True),
        ("tag-push-event", True),
        ("merge-request-event", True),
        ("deployment-event", False),
    ],
)
def test_what_only_announces_news(name: str, polled: bool) -> None:
    assert bool(reader().read(hook((FIXTURES / f"{name}.json").read_bytes()))) is polled


def test_a_comment_is_for_other_collectors() -> None:
    assert reader().read(hook({"object_kind": "note", "project": {"id": 101}})) == []


def test_a_push_that_deletes_a_ref_is_no_news() -> None:
    push = json.loads((FIXTURES / "push-event.json").read_text())
    assert reader().read(hook(push | {"after": "0" * 40})) == []


@pytest.mark.parametrize(
    ("action", "oldrev", "polled"),
    [("update", None, False), ("update", "8ad9", True), ("approved", "8ad9", False), (None, None, False)],
)
def test_only_commits_of_a_merge_request_are_news(
    action: str | None, oldrev: str | None, polled: bool
) -> None:
    sent = json.loads((FIXTURES / "merge-request-event.json").read_text())
    sent["object_attributes"] |= {"action": action, "oldrev": oldrev}
    assert bool(reader().read(hook(sent))) is polled


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"object_kind": ["pipeline"]}',
        b'{"object_kind": "wiki_page"}',
        b"[" * 99999,
    ],
)
def test_other_bodies_are_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        reader().read(hook(body))


def test_old_payloads_are_read_or_refused() -> None:
    read = {}
    for file in FIXTURES.glob("*.json"):
        try:
            read[file.stem] = reader().read(hook(file.read_bytes()))
        except NotUnderstood:
            read[file.stem] = []
    assert {name for name, news in read.items() if news} == {
        "build-event",
        "merge-request-event",
        "pipeline-event",
        "push-event",
        "tag-push-event",
    }


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "x", "\x00", "2026-03-02 08:00:00 UTC", "9999-12-31T23:59:59Z", "success", "1e400"]),
    st.just([]),
    st.just([1]),
    st.just({}),
    st.just({"id": 1}),
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), body=st.sampled_from([PIPELINE, JOB]))
def test_whatever_stands_in_a_payload_nothing_but_a_refusal_is_raised(
    data: Any, body: dict[str, Any]
) -> None:
    spoiled = json.loads(json.dumps(body))
    for _ in range(data.draw(st.integers(1, 3))):
        place = spoiled
        while True:
            key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
                place = place[key]
            else:
                place[key] = deepcopy(data.draw(JUNK))
                break
    with suppress(NotUnderstood):
        reader(known=MAIN).read(hook(spoiled))


# -- with polls --------------------------------------------------------------------------------------


def test_hooks_show_what_happened_without_a_call(lab: Lab) -> None:
    lab.act("hooks")
    lab.pipeline({"name": "unit", "run": 30}, {"name": "lint", "outcome": "failed"})
    lab.calls()
    lab.advance(120)
    deliver(lab, lab.server.take_hooks())
    assert sum(counted_runs(lab.exporter.text).values()) == 1
    assert sum(counted_jobs(lab.exporter.text).values()) == 2
    assert lab.calls() == {}


def test_a_poll_after_hooks_fills_in_details_and_then_asks_no_more(lab: Lab) -> None:
    lab.act("hooks")
    lab.pipeline({"name": "unit", "coverage": 80})
    lab.advance(120)
    deliver(lab, lab.server.take_hooks())
    assert lab.exporter.value("ci_pipeline_last_coverage_ratio") is None
    lab.exporter.poll()
    assert lab.exporter.value("ci_pipeline_last_coverage_ratio") == 0.8
    lab.calls()
    lab.advance(30)
    lab.exporter.poll()
    assert sum(lab.calls().values()) == 1


def test_what_hooks_and_polls_both_tell_reaches_the_sinks_once(lab: Lab) -> None:
    lab.exporter.store.outbox.subscribe(SINK, [RUNS])
    lab.act("hooks")
    lab.pipeline({"name": "unit"})
    for _ in range(8):
        lab.advance(10)
        deliver(lab, lab.server.take_hooks())
        lab.exporter.poll()
    told = [event.type for _, event in told_to_sinks(lab)]
    assert sorted(set(told)) == sorted(told)
    assert {"ci_exporter.run.success", "ci_exporter.job.success"} <= set(told)


def told_to_sinks(lab: Lab) -> list[tuple[int, Any]]:
    read = lab.exporter.store.outbox.read(SINK, 0, 1_000)
    return [(number, entry.event) for number, entry in enumerate(read)]


def test_an_execution_that_a_poll_made_out_is_not_counted_again_by_a_late_hook(lab: Lab) -> None:
    lab.act("hooks", events=["pipeline"])
    number = lab.pipeline({"name": "unit", "attempts": [{"outcome": "failed"}, {}]})
    lab.advance(60)
    lab.act("retry_pipeline", pipeline=number)
    lab.advance(120)
    lab.exporter.poll()
    before = counted_runs(lab.exporter.text)
    assert sum(before.values()) == 2
    letters = lab.server.take_hooks()
    (failed,) = (one for one in letters if '"detailed_status":"failed"' in one["body"])
    # GitLab ends a pipeline some seconds after its last job.
    body = json.loads(failed["body"])
    end = datetime.fromisoformat(body["object_attributes"]["finished_at"].removesuffix(" UTC"))
    body["object_attributes"]["finished_at"] = f"{end + timedelta(seconds=2)} UTC"
    deliver(lab, [failed | {"body": json.dumps(body)}])
    assert counted_runs(lab.exporter.text) == before
