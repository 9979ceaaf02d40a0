"""One request in, one reply out: authentication, ETags, the primary rate limit, and GitHub's own controls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from collectors._standin.asking import Answer, Query, Refusal, Request
from collectors._standin.faults import Reply, Rule
from collectors._standin.forge import Forge
from collectors._standin.site import Site
from collectors._standin.times import HOUR
from collectors.github.standin.api import Api
from collectors.github.standin.apps import Apps
from collectors.github.standin.render import Render

_API = "/api/v3/"
_MOST = 5_000


class GitHubSite(Site):
    """The stand-in GitHub (an Enterprise Server, by its address) over a forge.

    ``limit`` is the primary rate limit of an hour of simulated time; a 304 costs nothing of it.
    """

    def __init__(self, forge: Forge, base_url: str) -> None:
        options = forge.options
        super().__init__(forge, base_url, options.token, latency_ms=options.latency_ms)
        self.forge = forge
        self.limit = _MOST
        self._window, self._used = 0, 0
        self.api_of = Api(forge, Render(f"{base_url}{_API.rstrip('/')}"))
        self.apps = Apps(lambda: self.now)
        self.controls[("GET", "limits")] = lambda _: {"limit": self.limit, "used": self._used}

    def api(self, request: Request) -> Reply:
        """The reply of the REST API."""
        path, _, raw = request.target.partition("?")
        if not path.startswith(_API):
            return Reply(200, [("Content-Type", "text/plain")], b"GitHub OK")
        below = path.removeprefix(_API)
        if below.startswith("app/"):
            token = lambda _: self.apps.mint(request, below)  # noqa: E731
            return self.spoiled(request, token, "app/installations/:id/access_tokens")
        name, handler = self.api_of.route(below)
        base = f"http://{request.headers.get('host', self.base_url.partition('://')[2])}"

        def answer(rule: Rule | None) -> Answer:
            if not self._knows(request):
                raise Refusal(
                    401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com"}
                )
            if request.method not in ("GET", "HEAD"):
                raise Refusal(404, {"message": "Not Found"})
            query = Query(base + path, raw)
            if rule is not None and rule.kind == "same_page":
                query.many["page"] = [str(max(1, query.number("page", 1) - 1))]
            return self._charged(request, handler(query))

        return self.spoiled(request, answer, name)

    def _charged(self, request: Request, answer: Answer) -> Answer:
        """*answer*, or a free 304 if the client has the same; 403 when the hour is used up."""
        self._begin_hour()
        if self._used >= self.limit:
            message = "API rate limit exceeded for user ID 1."
            raise Refusal(403, {"message": message, "documentation_url": "https://docs.github.com/rest"})
        text = json.dumps(answer.body, sort_keys=True) + request.headers.get("authorization", "")
        etag = f'W/"{hashlib.sha256(text.encode()).hexdigest()}"'
        answer.headers.append(("ETag", etag))
        if request.headers.get("if-none-match") == etag:
            return Answer(None, 304, answer.headers)
        self._used += 1
        return answer

    def _begin_hour(self) -> None:
        window = self.now // HOUR
        if window != self._window:
            self._window, self._used = window, 0

    def _knows(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").partition(" ")[2]
        return given == self.token or self.apps.knows(given)

    def reply_headers(self, _request: Request) -> list[tuple[str, str]]:
        """What is left of the hour."""
        self._begin_hour()
        return [
            ("X-RateLimit-Limit", str(self.limit)),
            ("X-RateLimit-Remaining", str(max(0, self.limit - self._used))),
            ("X-RateLimit-Used", str(self._used)),
            ("X-RateLimit-Reset", str((self._window + 1) * HOUR // 1000)),
            ("X-RateLimit-Resource", "core"),
        ]

    def act(self, given: dict[str, Any]) -> object:
        """What only GitHub has, or what happens in any forge."""
        wanted = dict(given)
        name = wanted.pop("action")
        if name == "set_rate_limit":
            self.limit = int(wanted["per_hour"])
        elif name == "set_app":
            self.apps.register(**wanted)
        elif name == "revoke_tokens":
            self.apps.revoke()
        elif name in ("rename", "archive", "disable", "open_pull", "close_pull", "delete_ref"):
            self._of_project(name, **wanted)
        elif name == "burst":
            self._burst(**wanted)
        elif name == "set_offline":
            self.api_of.offline = set(wanted["runners"])
        else:
            return self.forge.act(given)
        return {}

    def _of_project(
        self, name: str, project: str, *, path: str = "", number: int = 0, head: str = "", ref: str = ""
    ) -> None:
        one = self.forge.project(project)
        if name == "rename":
            self.api_of.renamed[one.path.lower()] = one.id
            one.path = path
        elif name == "archive":
            self.api_of.archived.add(one.id)
        elif name == "disable":
            self.api_of.disabled.add(one.id)
        elif name == "open_pull":
            self.api_of.pulls[one.id][number] = head
        elif name == "close_pull":
            del self.api_of.pulls[one.id][number]
        else:
            self.api_of.deleted_refs[one.id].add(ref)

    def _burst(self, project: str, count: int, seconds: float) -> None:
        """Begin *count* runs of one short job, *seconds* apart."""
        for _ in range(count):
            self.forge.new_run(self.forge.project(project), [{"name": "unit", "seconds": 1, "queue": 0}])
            self.forge.advance(round(seconds * 1000))

    def truth(self, _asked: Mapping[str, str]) -> object:
        """Every finished execution."""
        return self.forge.truth()
