"""A stand-in in the test's own process: a world, a site over it, and a way to ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from collectors._standin.asking import Request
from collectors.gitlab.standin.options import Options
from collectors.gitlab.standin.site import Site
from collectors.gitlab.standin.world import World

START = 1_780_000_000_000
TOKEN = Options().token


class Browser:
    """Asks a site without a socket."""

    def __init__(self, options: Options) -> None:
        self.world = World(options)
        self.site = Site(self.world, "http://gitlab.test")

    def raw(self, target: str, method: str = "GET", body: object = None, **headers: str) -> Any:
        """The reply to any request."""
        known = {"private-token": TOKEN, "host": "gitlab.test"} | headers
        return self.site.handle(
            Request(method, target, known, b"" if body is None else json.dumps(body).encode())
        )

    def get(self, path: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON or text, and headers of an API answer."""
        reply = self.raw(f"/api/v4{path}", **headers)
        known = dict(reply.headers)
        is_json = known["Content-Type"] == "application/json"
        return reply.status, json.loads(reply.body) if is_json else reply.body.decode(), known

    def json(self, path: str) -> Any:
        """The JSON of an answer that must be 200."""
        status, body, _ = self.get(path)
        assert status == 200, body
        return body

    def control(self, method: str, name: str, body: object = None) -> Any:
        """What a control endpoint answers."""
        reply = self.raw(f"/__standin__/{name}", method, body)
        return json.loads(reply.body) | {"status": reply.status}

    def act(self, action: str, **given: Any) -> Any:
        """Do an action that must work."""
        answer = self.control("POST", "action", {"action": action, **given})
        assert answer["status"] == 200, answer
        return answer

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.control("POST", "advance", {"seconds": seconds})

    def truth(self, **wanted: Any) -> list[dict[str, Any]]:
        """Executions whose fields equal *wanted*."""
        entries = self.control("GET", "truth")["executions"]
        return [entry for entry in entries if all(entry[key] == value for key, value in wanted.items())]


@pytest.fixture(scope="session")
def browse() -> Callable[..., Browser]:
    """Makes a browser over a world of some options, that starts at a fixed time."""
    return lambda **options: Browser(Options(**{"start": START, "projects": 6, **options}))


@pytest.fixture
def one(browse: Callable[..., Browser]) -> Browser:
    """A still world with one project, ``acme/p``, number 101."""
    browser = browse(projects=0)
    browser.act("create_project", path="acme/p")
    return browser
