"""Webhooks that a real Gitea sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collectors.gitea import hooks
from exporter.hooks import AcceptsHooks, Hook, NotUnderstood
from tests.support.giteas import GiteaLab

FOLDER = Path(__file__).parent / "recorded" / "1.27.3" / "hooks"
SECRET = "recorded-hook-secret"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
NEWS = {
    "workflow_job_completed_success": True,
    "workflow_job_completed_skipped": True,
    "workflow_job_in_progress": False,
    "workflow_job_queued": False,
    "workflow_run_completed_again": True,
    "workflow_run_in_progress": True,
    "workflow_run_requested": True,
    "push": False,
    "create": False,
    "pull_request": False,
}


def hook(name: str, **changed: str) -> Hook:
    doc = json.loads((FOLDER / f"{name}.json").read_text())
    headers = {key.lower(): value for key, value in doc["headers"].items()} | changed
    return Hook(headers, doc["body"].encode(), NOW)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_every_recorded_one_is_authentic_by_its_secret_alone(name: str) -> None:
    assert hooks.is_authentic(hook(name), SECRET.encode())
    assert not hooks.is_authentic(hook(name), b"another")
    assert not hooks.is_authentic(hook(name), b"")


def test_a_changed_body_is_not_authentic() -> None:
    sent = hook("workflow_run_requested")
    forged = Hook(sent.headers, sent.body.replace(b"queued", b"forged"), NOW)
    assert not hooks.is_authentic(forged, SECRET.encode())


@pytest.mark.parametrize(("name", "news"), NEWS.items())
def test_runs_and_finished_jobs_are_news_of_their_repository(name: str, news: bool) -> None:
    unit = hooks.changed_repository(hook(name))
    assert (unit is not None) == news
    assert unit is None or (unit.key, unit.name) == ("1", "acme/web")


def test_what_is_not_understood_says_so() -> None:
    with pytest.raises(NotUnderstood, match="package"):
        hooks.changed_repository(hook("push", **{"x-gitea-event": "package"}))
    with pytest.raises(NotUnderstood):
        hooks.changed_repository(Hook(hook("workflow_run_requested").headers, b"[]", NOW))
    with pytest.raises(NotUnderstood):
        hooks.changed_repository(Hook(hook("workflow_run_requested").headers, b"{}", NOW))


def test_the_delivery_tells_repetitions() -> None:
    assert len(hooks.delivery(hook("push"))) == 36
    assert hooks.delivery(Hook({}, b"", NOW)) == ""


def test_a_hook_leads_to_a_poll_though_the_last_look_saw_nothing(
    lab: GiteaLab, counted: Callable[[], int]
) -> None:
    lab.restart(hooks={"secret": SECRET})
    collector = lab.exporter.collector
    assert isinstance(collector, AcceptsHooks)
    assert collector.accepts_hooks()
    lab.exporter.poll()
    lab.pipeline()
    lab.advance(40)
    body = json.dumps({"action": "completed", "repository": {"id": 1001, "full_name": "acme/p"}}).encode()
    sent = Hook({"x-gitea-event": "workflow_run"}, body, NOW)
    assert [news.unit.key for news in collector.read_hook(sent)] == ["1001"]
    lab.exporter.rounds.visit(lab.exporter.rounds.states()[0])
    assert counted() == 1


@pytest.fixture
def counted(lab: GiteaLab) -> Callable[[], int]:
    return lambda: int(lab.exporter.value("ci_pipeline_runs_total", project="acme/p") or 0)
