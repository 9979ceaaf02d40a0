"""Webhooks that only wake the collectors of GitLab whose data no payload holds."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from collectors.gitlab import GitLabChanges, GitLabDeployments, GitLabTests
from exporter.clock import FixedClock
from exporter.contract import Context
from exporter.exposition import Exposition
from exporter.hooks import AcceptsHooks, Hook, NotUnderstood
from exporter.selfmetrics import SelfMetrics

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
FIXTURES = Path(__file__).with_name("fixtures") / "webhooks"
NOTE = {"object_kind": "note", "project": {"id": 30}, "object_attributes": {"noteable_type": "MergeRequest"}}
WOKEN = {
    GitLabTests: {"pipeline-event"},
    GitLabDeployments: {"deployment-event"},
    GitLabChanges: {"merge-request-event", "note"},
}


@pytest.fixture(params=WOKEN, ids=lambda cls: cls.name)
def collector(request: pytest.FixtureRequest) -> Any:
    cls: Any = request.param
    page = Exposition().page(cls.name, cls.families)
    observer = SelfMetrics("0").observer(cls.name)
    context = Context(page=page, clock=FixedClock(NOW), api=observer, stopping=threading.Event())
    given = {"url": "http://127.0.0.1:9", "token": "t", "hooks": {"secret": "s3cret"}}
    made = cls(cls.config_model.model_validate(given), context)
    yield made
    made.close()


def hook(body: Any, **headers: str) -> Hook:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Hook({name.replace("_", "-"): value for name, value in headers.items()}, raw, NOW)


def test_a_hook_proves_itself_as_to_the_others(collector: Any) -> None:
    assert isinstance(collector, AcceptsHooks)
    assert (collector.hook_name, collector.adopts, collector.accepts_hooks()) == ("gitlab", False, True)
    assert collector.hook_is_authentic(hook({}, x_gitlab_token="s3cret"))
    assert not collector.hook_is_authentic(hook({}, x_gitlab_token="other"))
    assert collector.hook_id(hook({}, idempotency_key="a")) == "a"


def test_only_its_own_hooks_wake_a_collector(collector: Any) -> None:
    sent: dict[str, Any] = {file.stem: file.read_bytes() for file in FIXTURES.glob("*.json")} | {"note": NOTE}
    del sent["job-event"]  # GitLab has not called jobs so for years
    woken = {}
    for name, body in sent.items():
        woken[name] = [(news.unit.key, news.batch) for news in collector.read_hook(hook(body))]
    assert {name for name, news in woken.items() if news} == WOKEN[type(collector)]
    for name in WOKEN[type(collector)]:
        body = sent[name]
        project = (json.loads(body) if isinstance(body, bytes) else body)["project"]["id"]
        assert woken[name] == [(str(project), None)]


@pytest.mark.parametrize(
    "body",
    [
        {"object_kind": "note", "project": {"id": 30}, "object_attributes": {"noteable_type": "Issue"}},
        {"object_kind": "note", "project": {"id": 30}},
        {"object_kind": "pipeline", "project": {"id": 30}, "object_attributes": {"status": "running"}},
        {"object_kind": "pipeline", "project": {"id": 30}, "object_attributes": {"status": ["success"]}},
    ],
)
def test_what_is_no_news_wakes_nobody(collector: Any, body: dict[str, Any]) -> None:
    assert collector.read_hook(hook(body)) == []


@pytest.mark.parametrize("body", [b"", b"{}", b'{"object_kind": "wiki_page"}', b'{"object_kind": []}'])
def test_other_hooks_are_not_understood(collector: Any, body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        collector.read_hook(hook(body))


def test_a_hook_without_its_project_is_not_understood() -> None:
    for cls, kind in ((GitLabDeployments, "deployment"), (GitLabChanges, "merge_request")):
        page = Exposition().page(cls.name, cls.families)
        observer = SelfMetrics("0").observer(cls.name)
        context = Context(page=page, clock=FixedClock(NOW), api=observer, stopping=threading.Event())
        config: Any = cls.config_model.model_validate({"token": "t"})
        made = cls(config, context)
        assert not made.accepts_hooks()
        with pytest.raises(NotUnderstood):
            made.read_hook(hook({"object_kind": kind}))
        made.close()
