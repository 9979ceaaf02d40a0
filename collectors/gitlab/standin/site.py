"""One request in, one reply out: authentication, routes, rate limit and GitLab's own controls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from collectors._standin.asking import Answer, Query, Refusal, Request
from collectors._standin.faults import Reply, Rule
from collectors._standin.site import Site as StandInSite
from collectors._standin.times import iso
from collectors.gitlab.standin.actions import Actions
from collectors.gitlab.standin.events_api import EventsApi
from collectors.gitlab.standin.post import Post
from collectors.gitlab.standin.render import Render
from collectors.gitlab.standin.reviews import truth_of
from collectors.gitlab.standin.routes import Handler, graphql_api, routes, split
from collectors.gitlab.standin.world import World

if TYPE_CHECKING:
    from collectors.gitlab.standin.graphql_api import GraphqlApi

_API = "/api/v4/"
_GRAPHQL = "/api/graphql"


class Site(StandInSite):
    """The stand-in GitLab: REST and GraphQL over one world."""

    def __init__(self, world: World, base_url: str) -> None:
        super().__init__(world, base_url, world.options.token, latency_ms=world.options.latency_ms)
        self.world = world
        self.actions = Actions(world)
        self.rate_limit = world.options.rate_limit
        self._graphql_api: GraphqlApi | None = None
        self._set_graphql(not world.options.no_graphql, world.options.graphql_missing)
        self._window, self._used = 0, 0
        render = Render(base_url, world.options.offset, world.options.version, world.fleet)
        self._routes = routes(world, render)
        self._events = EventsApi(world, render)
        self._post = Post(world, base_url)
        self.controls |= {
            ("GET", "events"): lambda _: self._events.truth(),
            ("GET", "deployments"): lambda _: self._deployments(),
            ("GET", "changes"): lambda _: self._changes(),
            ("GET", "fleet"): lambda _: {"now": iso(world.now), **world.fleet.told(world.now)},
            ("GET", "state"): lambda _: self._state(),
            ("GET", "test_reports"): lambda _: {"test_reports": world.ledger.test_reports},
            ("GET", "hooks"): lambda _: self._post.state(),
            ("DELETE", "hooks"): lambda _: self._post.take(),
        }

    def move(self) -> None:
        """Let happen what webhooks tell of."""
        if self._post.sends:
            self.world.catch_up()

    def api(self, request: Request) -> Reply:
        """The reply of REST or GraphQL."""
        path = request.target.partition("?")[0]
        if path == _GRAPHQL:
            return self.spoiled(request, lambda _: self._graphql(request), "graphql")
        if not path.startswith(_API):
            return Reply(200, [("Content-Type", "text/plain")], b"GitLab OK")
        template, ids = split(path.removeprefix(_API))
        handler = self._routes.get(template)

        def answer(rule: Rule | None) -> Answer:
            return self._answer(request, handler, ids, rule)

        return self.spoiled(request, answer, "/".join(template) if handler else "")

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

    def admit(self, request: Request) -> None:
        """Count the request in its minute of real time."""
        window = int(time.monotonic() // 60)
        if window != self._window:
            self._window, self._used = window, 0
        self._used += 1
        limit = self.rate_limit
        if limit and self._used > limit:
            wait = max(1, 60 - int(time.monotonic() % 60))
            raise Refusal(429, "Retry later\n", [("Retry-After", str(wait))])

    def reply_headers(self, request: Request) -> list[tuple[str, str]]:
        """What is left of the minute, if headers tell."""
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

    def act(self, given: dict[str, Any]) -> object:
        """Set the limit and the like, or make something happen in the world."""
        if given.get("action") == "set_rate_limit":
            self.rate_limit = int(given["per_minute"])
            return {}
        if given.get("action") == "set_admin":
            self.world.admin = bool(given.get("admin", True))
            return {}
        if given.get("action") == "set_graphql":
            self._set_graphql(bool(given.get("enabled", True)), given.get("missing", ()))
            return {}
        if given.get("action") == "hooks":
            return self._post.set(given)
        return self.actions.run(given)

    def truth(self, asked: Mapping[str, str]) -> object:
        """Every finished execution, and what was deleted."""
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

    def _state(self) -> object:
        engine = self.world.engine
        counts = {"projects": len(engine.projects), "pipelines": len(engine.pipelines)}
        return {"now": iso(self.world.now), "group": self.world.options.group, **counts}


def _page_before(query: Query) -> Query:
    older = Query(query.url, query.raw, query.fixed)
    older.many["page"] = [str(max(1, query.number("page", 1) - 1))]
    return older
