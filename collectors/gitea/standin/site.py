"""The REST API of the stand-in: who may ask, which paths there are, and how lists are paged."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode

from collectors._standin.asking import Answer, Refusal, Request
from collectors._standin.faults import Reply, Rule
from collectors._standin.runs import Project, Run
from collectors._standin.site import Site as AnySite
from collectors._standin.site import as_reply
from collectors.gitea.standin.render import Render, standing
from collectors.gitea.standin.world import GiteaForge

T = TypeVar("T")
_API = "/api/v1"
_JSON = "application/json;charset=utf-8"
_FILTERS = {
    "queued": {"pending"},
    "in_progress": {"running"},
    "waiting": {"created"},
    "completed": {"success", "failed", "canceled", "skipped"},
    "success": {"success"},
    "failure": {"failed"},
    "cancelled": {"canceled"},
    "skipped": {"skipped"},
}
_MOST_PER_PAGE = 50


class Asked:
    """One request to the API: its address without the query, and its parameters."""

    def __init__(self, base: str, request: Request) -> None:
        path, _, raw = request.target.partition("?")
        self.address = base + path
        self.pairs = parse_qsl(raw)
        self.given = dict(self.pairs)

    def number(self, name: str, usual: int) -> int:
        """A whole number of at least 1; anything else counts as not given, as with Gitea."""
        value = self.given.get(name, "")
        return int(value) if value.isdecimal() and int(value) > 0 else usual

    def statuses(self) -> set[str] | None:
        """Which statuses are wanted, ``None`` for all."""
        wanted = [value for name, value in self.pairs if name == "status"]
        for word in wanted:
            if word not in _FILTERS:
                raise _refusal(400, f"invalid status {word}")
        return set().union(*(_FILTERS[word] for word in wanted)) if wanted else None


class Site(AnySite):
    """The whole stand-in behind a socket."""

    def __init__(self, world: GiteaForge, base_url: str) -> None:
        super().__init__(world, base_url, world.options.token, latency_ms=world.options.latency_ms)
        self.world = world
        self.offline: set[int] = set()
        self._render = Render(base_url, attempts=world.attempts)
        repo = r"/repos/([^/]+/[^/]+)"
        scope = r"/(admin|user|orgs/[^/]+|repos/[^/]+/[^/]+)"
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = [
            (name, re.compile(f"{pattern}$"), handler)
            for name, pattern, handler in (
                ("version", "/version", lambda asked: Answer({"version": "1.27.3"})),
                ("search", "/repos/search", self._search),
                ("own_repositories", "/user/repos", lambda asked: self._repositories(asked)),
                ("owner_repositories", "/(?:orgs|users)/([^/]+)/repos", self._repositories),
                ("repository", repo, self._repository),
                ("branches", f"{repo}/branches", self._branches),
                ("tags", f"{repo}/tags", self._tags),
                ("pulls", f"{repo}/pulls", self._pulls),
                ("runs", f"{scope}/actions/runs", self._runs),
                ("jobs", f"{scope}/actions/jobs", self._jobs),
                ("runners", f"{scope}/actions/runners", self._runners),
                ("run", rf"{repo}/actions/runs/(\d+)", self._run),
                ("run_jobs", rf"{repo}/actions/runs/(\d+)/jobs", self._run_jobs),
                ("attempt", rf"{repo}/actions/runs/(\d+)/attempts/(\d+)", self._run),
                ("attempt_jobs", rf"{repo}/actions/runs/(\d+)/attempts/(\d+)/jobs", self._run_jobs),
            )
        ]

    def remove(self, name: str) -> None:
        """Know that path no more."""
        self._routes = [route for route in self._routes if route[0] != name]

    def replace(self, name: str, pattern: str, handler: Callable[..., Answer]) -> None:
        """Answer a path in another way, or one more."""
        self.remove(name)
        self._routes.append((name, re.compile(f"{pattern}$"), handler))

    def api(self, request: Request) -> Reply:
        """The reply to any request that steers nothing."""
        path = unquote(request.target.partition("?")[0])
        if not path.startswith(_API):
            return as_reply(Answer("Gitea"))
        for name, pattern, handler in self._routes:
            if found := pattern.match(path.removeprefix(_API)):
                answer = partial(self._answer, request, handler, found.groups())
                return self.spoiled(request, answer, name)
        return self.spoiled(request, _unknown, "")

    def act(self, given: dict[str, Any]) -> object:
        """Make something happen; ``set_runner`` says whether one is online, ``rename_project`` renames."""
        if given.get("action") == "rename_project":
            self.world.project(given["project"]).path = given["path"]
            return {}
        if given.get("action") == "set_runner":
            (self.offline.discard if given["online"] else self.offline.add)(int(given["id"]))
            return {}
        return self.world.act(given)

    def truth(self, asked: Mapping[str, str]) -> object:
        """Every finished execution."""
        return self.world.truth()

    def _answer(
        self, request: Request, handler: Callable[..., Answer], parts: Sequence[str], rule: Rule | None
    ) -> Answer:
        given = request.headers.get("authorization", "")
        if not given:
            raise _refusal(404, "not found")
        if given not in (f"token {self.token}", f"Bearer {self.token}"):
            raise _refusal(401, "invalid username, password or token")
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, "")
        asked = Asked(self.base_url, request)
        if rule is not None and rule.kind == "same_page":
            asked.given["page"] = str(max(1, asked.number("page", 1) - 1))
        answer = handler(asked, *parts)
        answer.content_type = _JSON
        return answer

    # -- repositories ----------------------------------------------------------------------------

    def _projects(self, owner: str = "") -> list[Project]:
        found = self.world.projects.values()
        return [project for project in found if not owner or project.path.split("/")[0] == owner]

    def _repositories(self, asked: Asked, owner: str = "") -> Answer:
        found = self._projects(owner)
        if owner and not found:
            raise _refusal(404, "not found")
        entries, headers, _ = _page(asked, found, self._render.repository)
        return Answer(entries, headers=headers)

    def _search(self, asked: Asked) -> Answer:
        entries, headers, _ = _page(asked, self._projects(), self._render.repository)
        return Answer({"ok": True, "data": entries}, headers=headers)

    def _project(self, path: str) -> Project:
        try:
            return self.world.project(path)
        except ValueError:
            raise _refusal(404, "not found") from None

    def _repository(self, _asked: Asked, path: str) -> Answer:
        return Answer(self._render.repository(self._project(path)))

    def _branches(self, asked: Asked, path: str) -> Answer:
        """The branches; null, not an empty list, where nothing was ever pushed: without a default branch."""
        default = self._project(path).default_branch
        if not default:
            return Answer(None, headers=[("X-Total-Count", "0")])
        return self._refs(asked, path, "branch", {default})

    def _tags(self, asked: Asked, path: str) -> Answer:
        return self._refs(asked, path, "tag", set())

    def _refs(self, asked: Asked, path: str, kind: str, names: set[str]) -> Answer:
        runs = self._project(path).runs.values()
        names = names | {run.ref for run in runs if run.ref_kind == kind}
        entries, headers, _ = _page(asked, sorted(names), lambda name: {"name": name})
        return Answer(entries, headers=headers)

    def _pulls(self, asked: Asked, path: str) -> Answer:
        runs = self._project(path).runs.values()
        numbers = sorted({int(run.ref.split("/")[2]) for run in runs if run.ref_kind == "change_request"})
        entries, headers, _ = _page(asked, numbers, lambda number: {"number": number, "state": "open"})
        return Answer(entries, headers=headers)

    # -- runs ------------------------------------------------------------------------------------

    def _in_scope(self, scope: str) -> list[Project]:
        kind, _, name = scope.partition("/")
        if kind == "repos":
            return [self._project(name)]
        return self._projects(name if kind == "orgs" else "")

    def _runs(self, asked: Asked, scope: str) -> Answer:
        wanted = asked.statuses()
        found = [
            run
            for project in self._in_scope(scope)
            for run in project.runs.values()
            if wanted is None or _stands(run) in wanted
        ]
        return self._list(asked, "workflow_runs", sorted(found, key=lambda run: -run.id), self._render.run)

    def _jobs(self, asked: Asked, scope: str) -> Answer:
        wanted = asked.statuses()
        found = [
            job
            for project in self._in_scope(scope)
            for run in project.runs.values()
            for job in run.jobs
            if wanted is None or job.status in wanted
        ]
        newest_first = self.world.attempts and asked.given.get("order") == "desc"
        found.sort(key=lambda job: job.id, reverse=newest_first)
        return self._list(asked, "jobs", found, self._render.job)

    def _run_of(self, path: str, number: str, attempt: str | None) -> Run:
        try:
            run = self.world.run(self._project(path).path, int(number))
        except ValueError:
            raise _refusal(404, f"run with id {number}: resource does not exist") from None
        if attempt is None:
            return run
        if not self.world.attempts:
            raise Refusal(404, "404 page not found\n")
        found = run.at(int(attempt))
        if found is None:
            raise _refusal(404, f"run attempt {attempt} for run {number}: resource does not exist")
        return found

    def _run(self, _asked: Asked, path: str, number: str, attempt: str | None = None) -> Answer:
        return Answer(self._render.run(self._run_of(path, number, attempt)))

    def _run_jobs(self, asked: Asked, path: str, number: str, attempt: str | None = None) -> Answer:
        run = self._run_of(path, number, attempt)
        return self._list(asked, "jobs", run.jobs_of(run.attempt), self._render.job)

    def _list(
        self, asked: Asked, key: str, rows: Sequence[T], render: Callable[[T], dict[str, Any]]
    ) -> Answer:
        entries, headers, total = _page(asked, rows, render)
        return Answer({key: entries, "total_count": total}, headers=headers)

    # -- runners ---------------------------------------------------------------------------------

    def _runners(self, asked: Asked, scope: str) -> Answer:
        """Those of the instance; of any other scope there are none. Without links, as Gitea has it."""
        numbers = range(1, self.world.options.runners + 1) if scope == "admin" else range(0)
        jobs = [
            job
            for project in self.world.projects.values()
            for run in project.runs.values()
            for job in run.jobs
        ]
        busy = {job.runner for job in jobs if job.status == "running"}

        def render(number: int) -> dict[str, Any]:
            online = number not in self.offline
            return self._render.runner(number, busy=f"runner-{number}" in busy, online=online)

        entries, _, total = _page(asked, numbers, render)
        return Answer({"runners": entries, "total_count": total})


def _stands(run: Run) -> str:
    return run.status if run.finished else standing(run.jobs_of(run.attempt))


def _page(
    asked: Asked, rows: Sequence[T], render: Callable[[T], dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[tuple[str, str]], int]:
    """One page of *rows*, its headers, and how many rows there are."""
    size = min(_MOST_PER_PAGE, asked.number("limit", 30))
    number = asked.number("page", 1)
    pages = -(-len(rows) // size)
    targets = [("next", number + 1), ("last", pages)] if number < pages else []
    targets += [("first", 1), ("prev", min(number - 1, pages))] if number > 1 else []
    headers = [("X-Total-Count", str(len(rows)))]
    if targets:
        links = [f'<{_address(asked, page, size)}>; rel="{name}"' for name, page in targets]
        headers.append(("Link", ",".join(links)))
    return [render(row) for row in rows[(number - 1) * size : number * size]], headers, len(rows)


def _address(asked: Asked, page: int, size: int) -> str:
    others = [pair for pair in asked.pairs if pair[0] not in ("page", "limit")]
    return f"{asked.address}?{urlencode(sorted([*others, ('limit', str(size)), ('page', str(page))]))}"


def _refusal(status: int, message: str) -> Refusal:
    return Refusal(status, {"message": message, "url": "http://gitea.test/api/swagger"})


def _unknown(_rule: Rule | None) -> Answer:
    raise Refusal(404, "404 page not found\n")
