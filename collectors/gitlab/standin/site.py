"""One request in, one reply out: authentication, routes, rate limit, faults and the control endpoints."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from collectors.gitlab.standin.actions import Actions
from collectors.gitlab.standin.events_api import EventsApi
from collectors.gitlab.standin.faults import Faults, Reply, Rule, spoil
from collectors.gitlab.standin.params import Answer, Query, Refusal
from collectors.gitlab.standin.render import Render
from collectors.gitlab.standin.reviews import truth_of
from collectors.gitlab.standin.routes import Handler, graphql_api, routes, split
from collectors.gitlab.standin.times import iso
from collectors.gitlab.standin.world import World

if TYPE_CHECKING:
    from collectors.gitlab.standin.graphql_api import GraphqlApi

_API = "/api/v4/"
_GRAPHQL = "/api/graphql"
_CONTROL = "/__standin__/"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


class Site:
    """The whole stand-in behind a socket: a world and how it is shown, limited and spoiled."""

    def __init__(self, world: World, base_url: str) -> None:
        self.world = world
        self.base_url = base_url
        self.token = world.options.token
        self.faults = Faults(latency=world.options.latency_ms / 1000)
        self.actions = Actions(world)
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.recent: deque[str] = deque(maxlen=2_000)
        self.rate_limit = world.options.rate_limit
        self._graphql_api: GraphqlApi | None = None
        self._set_graphql(not world.options.no_graphql, world.options.graphql_missing)
        self._window, self._used = 0, 0
        render = Render(base_url, world.options.offset, world.options.version, world.fleet)
        self._routes = routes(world, render)
        self._events = EventsApi(world, render)
        self._controls: dict[tuple[str, str], Callable[[Request], object]] = {
            ("POST", "advance"): self._advance,
            ("POST", "action"): self._action,
            ("GET", "truth"): self._truth,
            ("GET", "events"): lambda _: self._events.truth(),
            ("GET", "deployments"): lambda _: self._deployments(),
            ("GET", "changes"): lambda _: self._changes(),
            ("GET", "fleet"): lambda _: {"now": iso(world.now), **world.fleet.told(world.now)},
            ("GET", "requests"): self._requests,
            ("DELETE", "requests"): self._forget_requests,
            ("GET", "faults"): lambda _: self._show_faults(),
            ("POST", "faults"): self._set_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "state"): self._state,
        }

    def handle(self, request: Request) -> Reply:
        """The reply to *request*, in which time has moved on first."""
        self.world.catch_up()
        path = request.target.partition("?")[0]
        if path.startswith(_CONTROL):
            return self._control(request, path.removeprefix(_CONTROL))
        if path == _GRAPHQL:
            reply = self._spoiled(request, lambda _: self._graphql(request), "graphql")
        elif path.startswith(_API):
            reply = self._api(request)
        else:
            return Reply(200, [("Content-Type", "text/plain")], b"GitLab OK")
        self.statuses[str(reply.status)] += 1
        return reply

    def _api(self, request: Request) -> Reply:
        template, ids = split(request.target.partition("?")[0].removeprefix(_API))
        handler = self._routes.get(template)

        def answer(rule: Rule | None) -> Answer:
            return self._answer(request, handler, ids, rule)

        return self._spoiled(request, answer, "/".join(template) if handler else "")

    def _spoiled(self, request: Request, answer: Callable[[Rule | None], Answer], name: str) -> Reply:
        """Count a request to *name*, answer it, and do with the reply what the faults want."""
        self.counts[f"{request.method} /{name}" if name else "unknown"] += 1
        self.recent.append(f"{request.method} {request.target}")
        rule = self.faults.match(request.target)
        try:
            self._limit()
            reply = _reply(answer(rule))
        except Refusal as refusal:
            reply = _reply(Answer(refusal.body, refusal.status, list(refusal.headers)))
        reply.delay = self.faults.latency
        reply.headers += self._rate_headers()
        return reply if rule is None else spoil(reply, rule)

    def _answer(self, request: Request, handler: Handler | None, ids: list[str], rule: Rule | None) -> Answer:
        if not self._knows(request.headers):
            raise Refusal(401, {"message": "401 Unauthorized"})
        if handler is None:
            raise Refusal(404, {"error": "404 Not Found"})
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, {"error": "405 Not Allowed"}, [("Allow", "GET, HEAD, OPTIONS")])
        query = self._query(request, ids)
        answer = handler(query, *ids)
        if rule is not None and rule.kind == "same_page":
            answer = replace(answer, body=handler(_page_before(query), *ids).body)
        return answer

    def _graphql(self, request: Request) -> Answer:
        if not self._knows(request.headers):
            raise Refusal(401, {"errors": [{"message": "Invalid token"}]})
        if not self._has_graphql:
            raise Refusal(404, {"errors": [{"message": "Not found!"}]})
        if request.method != "POST":
            raise Refusal(405, {"errors": [{"message": "Method not allowed"}]})
        if self._graphql_api is None:
            self._graphql_api = graphql_api(self.world, ())
        return self._graphql_api.answer(request.body)

    def _query(self, request: Request, ids: list[str]) -> Query:
        path, _, raw = request.target.partition("?")
        host = request.headers.get("host")
        base = f"http://{host}" if host else self.base_url
        return Query(base + path, raw, dict(zip(("id", "pipeline_id"), ids, strict=False)))

    def _set_graphql(self, enabled: bool, missing: Sequence[str]) -> None:
        """Whether there is GraphQL, and what of its schema is not."""
        self._graphql_api = graphql_api(self.world, missing) if missing else None
        self._has_graphql = enabled

    def _knows(self, headers: dict[str, str]) -> bool:
        given = headers.get("private-token") or headers.get("authorization", "").removeprefix("Bearer ")
        return given == self.token

    def _limit(self) -> None:
        """Count the request in its minute of real time."""
        window = int(time.monotonic() // 60)
        if window != self._window:
            self._window, self._used = window, 0
        self._used += 1
        limit = self.rate_limit
        if limit and self._used > limit:
            wait = max(1, 60 - int(time.monotonic() % 60))
            raise Refusal(429, "Retry later\n", [("Retry-After", str(wait))])

    def _rate_headers(self) -> list[tuple[str, str]]:
        limit = self.rate_limit or 2_000
        if not self.world.options.rate_headers:
            return []
        return [
            ("RateLimit-Limit", str(limit)),
            ("RateLimit-Name", "throttle_authenticated_api"),
            ("RateLimit-Observed", str(self._used)),
            ("RateLimit-Remaining", str(max(0, limit - self._used))),
            ("RateLimit-Reset", str(int(time.time()) // 60 * 60 + 60)),
        ]

    def _control(self, request: Request, name: str) -> Reply:
        control = self._controls.get((request.method, name))
        if control is None:
            return _reply(Answer({"error": f"controls: {sorted(self._controls)}"}, 404))
        try:
            return _reply(Answer(control(request)))
        except (ValueError, KeyError, TypeError) as error:
            return _reply(Answer({"error": f"{type(error).__name__}: {error}"}, 400))

    def _advance(self, request: Request) -> object:
        self.world.advance(round(float(_body(request)["seconds"]) * 1000))
        return {"now": iso(self.world.now)}

    def _action(self, request: Request) -> object:
        given = _body(request)
        if given.get("action") == "set_token":
            self.token = str(given["token"])
            return {}
        if given.get("action") == "set_rate_limit":
            self.rate_limit = int(given["per_minute"])
            return {}
        if given.get("action") == "set_admin":
            self.world.admin = bool(given.get("admin", True))
            return {}
        if given.get("action") == "set_graphql":
            self._set_graphql(bool(given.get("enabled", True)), given.get("missing", ()))
            return {}
        return self.actions.run(given)

    def _truth(self, request: Request) -> object:
        asked = dict(parse_qsl(request.target.partition("?")[2]))
        entries = [
            entry.as_json()
            for entry in self.world.truth(
                past=asked.get("past") != "false", jobs=asked.get("kind") != "pipeline"
            )
            if asked.get("kind", entry.kind) == entry.kind
            and asked.get("project_id", str(entry.project_id)) == str(entry.project_id)
        ]
        ledger = self.world.ledger
        return {
            "now": iso(self.world.now),
            "executions": entries,
            "deleted_pipelines": {str(number): iso(at) for number, at in ledger.deleted_pipelines.items()},
            "deleted_projects": {str(number): iso(at) for number, at in ledger.deleted_projects.items()},
        }

    def _deployments(self) -> object:
        told = [one.as_json() for one in self.world.deployments.truth()]
        return {"now": iso(self.world.now), "deployments": told}

    def _changes(self) -> object:
        projects = self.world.people.projects.values()
        told = [truth_of(project, one) for project in projects for one in project.merge_requests.values()]
        return {"now": iso(self.world.now), "changes": told}

    def _requests(self, request: Request) -> object:
        known: dict[str, Any] = {
            "total": sum(self.counts.values()),
            "by_endpoint": dict(self.counts),
            "by_status": dict(self.statuses),
        }
        if "log" in request.target.partition("?")[2]:
            known["recent"] = list(self.recent)
        return known

    def _forget_requests(self, _request: Request) -> object:
        self.counts.clear()
        self.statuses.clear()
        self.recent.clear()
        return {}

    def _show_faults(self) -> object:
        rules = [rule.as_json() for rule in self.faults.rules]
        return {"rules": rules, "latency_ms": self.faults.latency * 1000}

    def _set_faults(self, request: Request) -> object:
        given = _body(request)
        if "latency_ms" in given:
            self.faults.latency = float(given["latency_ms"]) / 1000
        if "rules" in given:
            self.faults.replace(given["rules"])
        return self._show_faults()

    def _clear_faults(self, _request: Request) -> object:
        self.faults.replace(())
        self.faults.latency = 0.0
        return {}

    def _state(self, _request: Request) -> object:
        engine = self.world.engine
        counts = {"projects": len(engine.projects), "pipelines": len(engine.pipelines)}
        return {"now": iso(self.world.now), "group": self.world.options.group, **counts}


def _page_before(query: Query) -> Query:
    older = Query(query.url, query.raw, query.fixed)
    older.many["page"] = [str(max(1, query.number("page", 1) - 1))]
    return older


def _reply(answer: Answer) -> Reply:
    if isinstance(answer.body, str):
        return Reply(answer.status, [("Content-Type", "text/plain"), *answer.headers], answer.body.encode())
    body = json.dumps(answer.body, separators=(",", ":")).encode()
    return Reply(answer.status, [("Content-Type", answer.content_type), *answer.headers], body)


def _body(request: Request) -> dict[str, Any]:
    given = json.loads(request.body or b"{}")
    if not isinstance(given, dict):
        raise TypeError("an object is wanted")
    return given
