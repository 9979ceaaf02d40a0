"""Webhooks: what they prove, what they say, and that they count nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from exporter.contract import Unit
from exporter.hooks import AcceptsHooks, Hook, HookNews, NotUnderstood
from exporter.model.runs import Status
from tests.collectors.github.conftest import RECORDED
from tests.support.githubs import HOOK_SECRET as SECRET
from tests.support.githubs import GitHubLab
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs


@pytest.fixture
def hooked(make_lab: Callable[..., GitHubLab]) -> GitHubLab:
    return make_lab(hooks={"secret": SECRET})


def read(lab: GitHubLab, event: str, payload: object) -> list[HookNews]:
    return list(lab.exporter.collector.read_hook(lab.hook(event, payload)))


def agrees(lab: GitHubLab) -> None:
    truth = lab.server.truth()
    assert difference(expected_runs(truth), counted_runs(lab.exporter.text)) == {}
    assert difference(expected_jobs(truth), counted_jobs(lab.exporter.text)) == {}


def test_only_what_is_signed_with_the_secret_is_authentic(hooked: GitHubLab) -> None:
    collector = hooked.exporter.collector
    assert isinstance(collector, AcceptsHooks)
    assert (collector.hook_name, collector.adopts, collector.accepts_hooks()) == ("github", False, True)
    good = hooked.hook("ping", {})
    assert collector.hook_is_authentic(good)
    assert not collector.hook_is_authentic(hooked.hook("ping", {}, x_hub_signature_256="sha256=00"))
    assert not collector.hook_is_authentic(hooked.hook("ping", {}, x_hub_signature_256="sha256=\udcff"))
    other = Hook(good.headers, good.body + b" ", good.received_at)
    assert not collector.hook_is_authentic(other)
    assert collector.hook_id(good) == "72d3162e-cc78-11e3-81ab-4c9367dc0958"


def test_without_a_secret_nothing_is(lab: GitHubLab) -> None:
    assert not lab.exporter.collector.accepts_hooks()
    assert not lab.exporter.collector.hook_is_authentic(lab.hook("ping", {}))


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("ping", {"zen": "Keep it logically awesome."}),
        ("push", {"ref": "refs/heads/main"}),
        ("workflow_run", b"no json"),
        ("workflow_run", []),
        ("workflow_run", {"action": "completed"}),
        ("workflow_run", {"repository": {"id": 1, "full_name": "a/b"}, "workflow_run": {"id": "1"}}),
        ("workflow_job", {"repository": {"id": 1, "full_name": "a/b"}}),
        ("workflow_job", {"repository": None, "workflow_job": {}}),
    ],
)
def test_what_says_nothing_of_runs_is_not_understood(hooked: GitHubLab, event: str, payload: object) -> None:
    with pytest.raises(NotUnderstood):
        read(hooked, event, payload)


def test_recorded_payloads_are_understood(hooked: GitHubLab) -> None:
    found: list[tuple[Unit, Any]] = []
    for sample in json.loads((RECORDED / "webhooks.json").read_text()):
        for news in read(hooked, sample["event"], sample["payload"]):
            records = (*news.batch.runs, *news.batch.jobs) if news.batch else (None,)
            found += [(news.unit, record) for record in records]
    assert [(unit.key, getattr(record, "status", None)) for unit, record in found] == [
        ("186853002", Status.FAILED),
        ("186853002", Status.RUNNING),
        ("591427149", Status.PENDING),
        ("300029405", Status.SUCCESS),
        ("300029405", None),  # what the poll is to fill in
        ("300029405", Status.PENDING),
        ("300029405", Status.MANUAL),
    ]
    job = found[0][1]
    assert (job.name, job.queue_seconds, job.duration_seconds) == ("linters", 60, 198)


def test_a_form_is_understood_as_well(hooked: GitHubLab) -> None:
    samples = json.loads((RECORDED / "webhooks.json").read_text())
    form = urlencode({"payload": json.dumps(samples[0]["payload"])}).encode()
    kind = {"content_type": "application/x-www-form-urlencoded"}
    sent = hooked.hook("workflow_job", form, **kind)
    assert hooked.exporter.collector.hook_is_authentic(sent)
    (news,) = hooked.exporter.collector.read_hook(sent)
    assert news.batch.jobs[0].name == "linters"
    for broken in (b"payload", b"\xff=1", b"a=1"):
        with pytest.raises(NotUnderstood):
            hooked.exporter.collector.read_hook(hooked.hook("workflow_job", broken, **kind))


def test_a_job_counts_from_its_hook_alone_and_once(hooked: GitHubLab) -> None:
    run = hooked.pipeline(story="failing")
    hooked.advance(300)
    hooked.deliver(run)
    assert counted_jobs(hooked.exporter.text) == expected_jobs(hooked.server.truth())
    hooked.exporter.poll()
    agrees(hooked)
    hooked.deliver(run)
    agrees(hooked)


def test_a_finished_run_asks_for_a_poll_that_counts_it(hooked: GitHubLab) -> None:
    run = hooked.pipeline()
    hooked.advance(300)
    repository = hooked.server.get("/repos/acme/p")[1]
    shown = hooked.server.get(f"/repos/acme/p/actions/runs/{run}")[1]
    told, again = read(hooked, "workflow_run", {"workflow_run": shown, "repository": repository})
    assert told.batch is not None
    assert not told.batch.runs[0].complete
    assert (again.unit.key, again.batch) == (repository["id"] and str(repository["id"]), None)
    hooked.deliver(run)
    hooked.exporter.poll()
    agrees(hooked)
    assert hooked.exporter.value("ci_pipeline_run_queue_duration_seconds_count", project="acme/p") == 1


def test_where_no_jobs_are_read_the_hook_suffices(make_lab: Callable[..., GitHubLab]) -> None:
    lab = make_lab(hooks={"secret": SECRET}, jobs={"enabled": False})
    run = lab.pipeline()
    lab.advance(300)
    lab.deliver(run)
    assert expected_runs(lab.server.truth()) == counted_runs(lab.exporter.text)
    lab.calls()
    lab.exporter.poll()
    assert expected_runs(lab.server.truth()) == counted_runs(lab.exporter.text)
    assert list(lab.calls()) == ["GET /repos/:repo/actions/runs"]


def test_hooks_and_polls_that_race_over_attempts_count_each_once(hooked: GitHubLab) -> None:
    run = hooked.pipeline(story="failing")
    for attempt in range(1, 5):
        hooked.advance(5)
        hooked.deliver(run)
        if attempt % 2:
            hooked.exporter.poll()
        hooked.advance(300)
        hooked.deliver(run)
        if attempt == 3:
            hooked.restart()
        if attempt < 4:
            hooked.act("rerun", project="acme/p", pipeline_id=run, failed_only=attempt == 2)
    hooked.deliver(run, attempt=2)  # a late one
    hooked.exporter.poll()
    agrees(hooked)


def test_a_hook_of_a_ref_that_only_github_can_tell_asks_for_a_poll(hooked: GitHubLab) -> None:
    run = hooked.pipeline(ref="v1", ref_kind="tag")
    hooked.advance(5)
    repository = hooked.server.get("/repos/acme/p")[1]
    shown = hooked.server.get(f"/repos/acme/p/actions/runs/{run}")[1]
    payload = {"workflow_run": shown, "repository": repository}
    assert [news.batch for news in read(hooked, "workflow_run", payload)] == [None]
    hooked.exporter.poll()
    (news,) = read(hooked, "workflow_run", payload)
    assert news.batch is not None
    assert news.batch.runs[0].ref_kind == "tag"
