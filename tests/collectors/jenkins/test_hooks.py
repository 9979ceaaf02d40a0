"""What Jenkins tells by itself leads to one look at one job."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from exporter.hooks import AcceptsHooks, Hook, NotUnderstood
from exporter.store.inbox import digest_of
from tests.support.harness import PROJECT, Lab
from tests.support.truth import counted_runs

Make = Callable[..., Lab]
SECRET = "a secret of some length"
# As the Notification plugin's own documentation shows one; the names are ours.
PUSHED: dict[str, Any] = {
    "name": "main",
    "display_name": "main",
    "url": "job/acme/job/p/job/main/",
    "build": {
        "full_url": "http://localhost:8080/job/acme/job/p/job/main/18/",
        "number": 18,
        "queue_id": 4711,
        "timestamp": 1772438400000,
        "duration": 5000,
        "phase": "FINALIZED",
        "status": "SUCCESS",
        "url": "job/acme/job/p/job/main/18/",
        "scm": {
            "url": "https://git.example.com/acme/p.git",
            "branch": "origin/main",
            "commit": "c6d86dc654b12425e706bcf951adfe5a8627a517",
        },
        "artifacts": {
            "p.jar": {"archive": "http://localhost:8080/job/acme/job/p/job/main/18/artifact/p.jar"}
        },
    },
}


def hook(lab: Lab, body: object, **headers: str) -> Hook:
    return Hook(headers, json.dumps(body).encode(), lab.clock.now())


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def pushed(lab_of: Make) -> Lab:
    lab = lab_of(hooks={"secret": SECRET})
    lab.exporter.poll()
    return lab


def deliver(lab: Lab, body: object) -> None:
    """What the engine does with a hook."""
    for news in lab.exporter.collector.read_hook(hook(lab, body)):
        if lab.exporter.rounds.receive(news.unit, news.batch):
            state = lab.exporter.rounds.state(news.unit.key)
            assert state is not None
            lab.exporter.rounds.visit(state)


def test_it_takes_hooks_once_there_is_a_secret(lab_of: Make) -> None:
    lab = lab_of()
    collector = lab.exporter.collector
    assert isinstance(collector, AcceptsHooks)
    assert (collector.hook_name, collector.accepts_hooks()) == ("jenkins", False)
    assert not collector.hook_is_authentic(hook(lab, {}, authorization="Bearer "))
    lab.restart(hooks={"secret": SECRET})
    assert lab.exporter.collector.accepts_hooks()


@pytest.mark.parametrize(
    ("headers", "authentic"),
    [
        ({"x-ci-exporter-token": SECRET}, True),
        ({"authorization": f"Bearer {SECRET}"}, True),
        ({"authorization": f"bearer {SECRET}"}, True),
        ({"authorization": basic("jenkins", SECRET)}, True),
        ({"authorization": basic(SECRET, "")}, False),
        ({"authorization": "Basic no base64!"}, False),
        ({"authorization": f"Digest {SECRET}"}, False),
        ({"x-ci-exporter-token": SECRET + "x"}, False),
        ({"x-ci-exporter-token": "é"}, False),
        ({}, False),
    ],
)
def test_the_secret_may_come_in_three_ways(pushed: Lab, headers: dict[str, str], authentic: bool) -> None:
    assert pushed.exporter.collector.hook_is_authentic(hook(pushed, {}, **headers)) is authentic


@pytest.mark.parametrize(
    "body",
    [
        PUSHED,
        {"job": "acme/p/main", "number": 1},
        {"job": "acme/p"},
        {"job": "/acme/p/feature%2Fx/", "number": 3},
        {"url": "job/acme/job/p/job/feature%252Fx/"},
        {"build": PUSHED["build"]},
        {"url": "https://jenkins.example.com/jenkins/job/acme/job/p/job/main/7/"},
    ],
)
def test_a_hook_leads_to_the_unit_of_its_job(pushed: Lab, body: object) -> None:
    (news,) = pushed.exporter.collector.read_hook(hook(pushed, body))
    assert (news.unit.key, news.batch) == (PROJECT, None)


def test_the_secret_may_hold_any_letter(lab_of: Make) -> None:
    lab, secret = lab_of(), "clé-voilà"
    lab.restart(hooks={"secret": secret})
    assert lab.exporter.collector.hook_is_authentic(hook(lab, {}, authorization=basic("jenkins", secret)))


def test_a_job_may_say_the_same_of_each_of_its_builds(pushed: Lab) -> None:
    collector = pushed.exporter.collector
    hooks = [hook(pushed, {"job": "acme/p"}) for _ in range(2)]
    assert len({digest_of("jenkins", one, collector.hook_id(one)) for one in hooks}) == 2


def test_a_hook_for_a_job_that_is_not_watched_is_ignored(pushed: Lab) -> None:
    (news,) = pushed.exporter.collector.read_hook(hook(pushed, {"job": "other/job", "number": 1}))
    assert pushed.exporter.rounds.receive(news.unit, news.batch) is None


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"job": 7},
        {"job": "/"},
        {"url": "view/all/"},
        {"url": "http://[broken/job/x/"},
        {"build": 1},
        3,
    ],
)
def test_what_names_no_job_is_not_understood(pushed: Lab, body: object) -> None:
    with pytest.raises(NotUnderstood):
        pushed.exporter.collector.read_hook(hook(pushed, body))


def test_a_hook_is_answered_by_a_look_at_its_job_alone(pushed: Lab) -> None:
    pushed.pipeline({"name": "build", "seconds": 20})
    pushed.advance(60)
    pushed.calls()
    deliver(pushed, PUSHED)
    calls = pushed.calls()
    assert "GET /api/json" not in calls
    assert sum(counted_runs(pushed.exporter.text).values()) == 1
    deliver(pushed, PUSHED)
    assert pushed.calls() == {"GET /job/:job/api/json": 1}
    assert sum(counted_runs(pushed.exporter.text).values()) == 1


def test_a_sweep_from_before_a_hook_takes_back_nothing(pushed: Lab) -> None:
    pushed.pipeline()
    pushed.run(60, 60)
    sweeper = pushed.exporter.collector._sweeper
    before = sweeper.all()
    pushed.pipeline()
    pushed.advance(60)
    deliver(pushed, PUSHED)
    text = pushed.exporter.text
    assert sum(counted_runs(text).values()) == 2
    sweeper._sweep = before  # as another process that led before might still have it
    sweeper._served.clear()
    sweeper._taken_at = pushed.clock.monotonic()
    pushed.exporter.poll()
    assert pushed.exporter.text == text


def test_hooks_and_polls_racing_on_the_same_builds_count_each_once(pushed: Lab) -> None:
    for number in range(6):
        pushed.pipeline(story="failing", ref="main" if number % 2 else "other")
        for _ in range(4):
            pushed.advance(20)
            deliver(pushed, PUSHED)
            pushed.exporter.poll()
    assert sum(counted_runs(pushed.exporter.text).values()) == 6


def test_a_branch_that_only_the_hook_knows_is_read(pushed: Lab) -> None:
    pushed.pipeline(ref="brand/new")
    pushed.advance(150)
    deliver(pushed, {"job": "acme/p/brand%2Fnew", "number": 1})
    assert sum(counted_runs(pushed.exporter.text).values()) == 1
