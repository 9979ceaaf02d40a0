"""The webhooks of the stand-in: what it makes, loses, doubles and sends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.collectors.gitlab.standin.conftest import Browser
from tests.support.harness import gitlab
from tests.support.process import wait_until

KEY = b"k" * 32
TOKEN = "whsec_" + base64.b64encode(KEY).decode()


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it, and answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/gitlab"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.got.append((headers, self.rfile.read(int(headers["content-length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def taken(one: Browser) -> list[dict[str, Any]]:
    return [json.loads(letter["body"]) for letter in one.control("DELETE", "hooks")["hooks"]]


def test_hooks_tell_a_pipeline_from_its_push_to_its_end(one: Browser) -> None:
    one.act("hooks")
    one.act(
        "new_pipeline",
        project="acme/p",
        jobs=[{"name": "unit"}, {"name": "go", "stage": "deploy", "environment": "staging"}],
    )
    one.run(200)
    hooks = taken(one)
    assert [hook["object_attributes"]["status"] for hook in hooks if hook["object_kind"] == "pipeline"] == [
        "pending",
        "running",
        "success",
    ]
    jobs = [(hook["build_name"], hook["build_status"]) for hook in hooks if hook["object_kind"] == "build"]
    assert jobs == [(name, status) for name in ("unit", "go") for status in ("pending", "running", "success")]
    assert Counter(hook["object_kind"] for hook in hooks) == {
        "push": 1,
        "pipeline": 3,
        "build": 6,
        "deployment": 2,
    }
    assert taken(one) == []


def test_a_pipeline_of_a_merge_request_names_the_source_branch(one: Browser) -> None:
    one.act("hooks", events=["pipeline", "merge_request"])
    request = one.act("open_mr", project="acme/p")
    one.act("new_pipeline", project="acme/p", ref=f"refs/merge-requests/{request['iid']}/head")
    one.run(100)
    opened, *pipelines = taken(one)
    assert opened["object_attributes"]["action"] == "open"
    assert {hook["object_attributes"]["ref"] for hook in pipelines} == {request["source_branch"]}
    assert pipelines[0]["merge_request"]["iid"] == request["iid"]


def test_a_child_names_its_parent_and_bridges_are_no_builds(one: Browser) -> None:
    one.act("hooks", events=["pipeline", "job"])
    child = {"jobs": [{"name": "part"}]}
    parent = one.act("new_pipeline", project="acme/p", jobs=[{"name": "start", "downstream": child}])
    one.run(100)
    hooks = taken(one)
    sources = {hook["source_pipeline"]["pipeline_id"] for hook in hooks if "source_pipeline" in hook}
    assert sources == {parent["pipeline_id"]}
    assert {hook["build_name"] for hook in hooks if hook["object_kind"] == "build"} == {"part"}


def test_some_are_lost_and_some_doubled_and_some_late_always_the_same(browse: Callable[..., Browser]) -> None:
    def made(**orders: Any) -> list[str]:
        one = browse(projects=2, pipelines_per_hour=600)
        one.act("hooks", **orders)
        one.run(1200)
        return [letter["headers"]["Idempotency-Key"] for letter in one.control("DELETE", "hooks")["hooks"]]

    everything = made()
    assert len(everything) == len(set(everything)) > 200
    some = made(lose=0.3, double=0.3, late=60)
    assert some == made(lose=0.3, double=0.3, late=60)
    assert len(set(some)) < len(everything) * 0.9
    assert len(some) > len(set(some))


def test_they_arrive_with_secret_and_signature(receiver: Receiver) -> None:
    with gitlab() as server:
        server.action("create_project", path="acme/p")
        server.action("hooks", url=receiver.url, secret="s3cret", signing_token=TOKEN)
        server.action("new_pipeline", project="acme/p", jobs=[{"name": "unit"}])
        server.advance(120)
        wait_until(lambda: server.hooks() == {"waiting": 0, "answers": {"204": 7}}, "all answers")
    for headers, body in receiver.got:
        assert headers["x-gitlab-token"] == "s3cret"
        number, moment = headers["webhook-id"], headers["webhook-timestamp"]
        assert number == headers["idempotency-key"]
        assert abs(time.time() - int(moment)) < 120
        made = hmac.new(KEY, f"{number}.{moment}.".encode() + body, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(made).decode()}"
    events = [headers["x-gitlab-event"] for headers, _ in receiver.got]
    assert Counter(events) == {"Push Hook": 1, "Pipeline Hook": 3, "Job Hook": 3}


def test_a_refused_hook_is_not_sent_again(receiver: Receiver) -> None:
    receiver.status = 503
    with gitlab() as server:
        server.action("create_project", path="acme/p")
        server.action("hooks", url=receiver.url, events=["push"])
        server.action("new_pipeline", project="acme/p")
        wait_until(lambda: server.hooks()["answers"] == {"503": 1}, "the answer")
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "orders", [{"url": "http://ci.example.com/hooks"}, {"url": "ftp://127.0.0.1"}, {"x": 1}]
)
def test_they_go_nowhere_but_to_this_machine(one: Browser, orders: dict[str, Any]) -> None:
    assert one.control("POST", "action", {"action": "hooks", **orders})["status"] == 400
