"""What each path of the API answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from collectors._standin.asking import Answer, Query, Refusal
from collectors._standin.forge import Forge
from collectors._standin.runs import Project, Run
from collectors._standin.times import parse
from collectors.github.standin.render import Json, Render, owner_of

_MOST_FOUND = 1_000  # results of one search, whatever its total_count says
_FILTERS = ("actor", "branch", "check_suite_id", "created", "event", "head_sha", "status")


class Api:
    """Handlers by what is asked; ``pulls`` are open pull requests by repository: number -> head."""

    def __init__(self, forge: Forge, render: Render) -> None:
        self._forge = forge
        self._render = render
        self.pulls: dict[int, dict[int, str]] = defaultdict(dict)
        self.deleted_refs: dict[int, set[str]] = defaultdict(set)
        self.archived: set[int] = set()
        self.disabled: set[int] = set()
        self.renamed: dict[str, int] = {}
        self.offline: set[int] = set()
        self._of_repository: dict[tuple[str, ...], Callable[..., Answer]] = {
            (): self._repository,
            ("actions", "runs"): self._runs,
            ("actions", "runs", ":id"): self._run,
            ("actions", "runs", ":id", "jobs"): self._jobs,
            ("actions", "runs", ":id", "attempts", ":id"): self._attempt,
            ("actions", "runs", ":id", "attempts", ":id", "jobs"): self._attempt_jobs,
            ("actions", "runners"): self._runners,
            ("git", "matching-refs", ":name"): self._matching_refs,
            ("git", "ref", ":name"): self._ref,
            ("pulls",): self._pulls,
        }

    # -- routes ----------------------------------------------------------------------------------

    def route(self, path: str) -> tuple[str, Callable[[Query], Answer]]:
        """The name of an endpoint for counts, and its handler; empty if there is none."""
        parts = path.strip("/").split("/")
        if parts[0] == "repos" and len(parts) >= 3:
            project = self._by_path(f"{parts[1]}/{parts[2]}")
            return self._below("repos/:repo", project, parts[3:], moved="/".join(parts[:3]))
        if parts[0] == "repositories" and len(parts) >= 2:
            number = int(parts[1]) if parts[1].isdigit() else 0
            return self._below("repositories/:id", self._forge.projects.get(number), parts[2:])
        if len(parts) == 3 and parts[0] in ("orgs", "users") and parts[2] == "repos":
            return f"{parts[0]}/:name/repos", lambda query: self._repositories(query, parts[1])
        if parts == ["user", "repos"]:
            return "user/repos", lambda query: self._repositories(query, None)
        if parts == ["installation", "repositories"]:
            return "installation/repositories", self._installation
        if len(parts) == 4 and parts[0] in ("enterprises", "orgs") and parts[2:] == ["actions", "runners"]:
            return f"{parts[0]}/:name/actions/runners", lambda query: self._runners(query, None)
        return "", _nowhere

    def _by_path(self, path: str) -> Project | None:
        wanted = unquote(path).lower()
        return next((one for one in self._forge.projects.values() if one.path.lower() == wanted), None)

    def _below(
        self, name: str, project: Project | None, rest: list[str], moved: str = ""
    ) -> tuple[str, Callable[[Query], Answer]]:
        names = [":name"] if rest[:1] == ["git"] and len(rest) > 2 else []
        template = tuple(rest[:2] + names) if names else tuple(":id" if p.isdigit() else p for p in rest)
        handler = self._of_repository.get(template)
        if handler is None:
            return "", _nowhere
        ids: list[Any] = (
            ["/".join(map(unquote, rest[2:]))] if names else [int(p) for p in rest if p.isdigit()]
        )

        def answer(query: Query) -> Answer:
            if project is not None:
                return handler(query, project, *ids)
            number = self.renamed.get(moved.removeprefix("repos/").lower())
            if number is None:
                raise not_found()
            target = query.url.replace(f"/{moved}", f"/repositories/{number}", 1)
            target += f"?{query.raw}" if query.raw else ""
            raise Refusal(301, {"message": "Moved Permanently", "url": target}, [("Location", target)])

        return "/".join((name, *template)), answer

    # -- repositories ----------------------------------------------------------------------------

    def _repository(self, _query: Query, project: Project) -> Answer:
        return Answer(self._full(project))

    def _full(self, project: Project) -> Json:
        archived, disabled = project.id in self.archived, project.id in self.disabled
        return self._render.full_repository(project, archived=archived, disabled=disabled)

    def _repositories(self, query: Query, owner: str | None) -> Answer:
        found = [one for one in self._forge.projects.values() if owner in (None, owner_of(one.path))]
        if owner is not None and not found and owner != self._forge.options.group:
            raise not_found()
        return page(query, [self._full(one) for one in found])

    def _installation(self, query: Query) -> Answer:
        rows = [self._full(one) for one in self._forge.projects.values()]
        return page(query, rows, key="repositories")

    # -- runs ------------------------------------------------------------------------------------

    def _runs(self, query: Query, project: Project) -> Answer:
        found = sorted(project.runs.values(), key=lambda run: (run.created_at, run.id), reverse=True)
        found = [run for run in found if self._fits(query, run)]
        filtered = any(query.text(name) for name in _FILTERS)
        return page(query, found, self._shown, key="workflow_runs", most=_MOST_FOUND if filtered else None)

    def _fits(self, query: Query, run: Run) -> bool:
        wanted, shown = query.text("status"), self._render.run(run) if query.text("status") else {}
        return (
            (not wanted or wanted in (shown["status"], shown["conclusion"]))
            and query.text("branch") in (None, run.ref.rpartition(":")[2])
            and query.text("event") in (None, run.source)
            and query.text("head_sha") in (None, run.sha)
            and _within(query.text("created") or "*..*", run.created_at)
        )

    def _shown(self, run: Run, attempt: int | None = None) -> Json:
        pulls = [
            self._render.pull(run.project, number, head)
            for number, head in self.pulls[run.project.id].items()
            if head == run.ref and ":" not in head
        ]
        return self._render.run(run, pulls, attempt=attempt)

    def _found(self, project: Project, number: int) -> Run:
        if number not in project.runs:
            raise not_found()
        return project.runs[number]

    def _run(self, _query: Query, project: Project, number: int) -> Answer:
        return Answer(self._shown(self._found(project, number)))

    def _attempt(self, _query: Query, project: Project, number: int, attempt: int) -> Answer:
        run = self._found(project, number)
        if run.at(attempt) is None:
            raise not_found()
        return Answer(self._shown(run, attempt))

    def _jobs(self, query: Query, project: Project, number: int) -> Answer:
        run = self._found(project, number)
        every = query.choice("filter", ("latest", "all"), "latest") == "all"
        attempts = range(1, run.attempt + 1) if every else [run.attempt]
        return page(query, self._render.jobs(run, attempts), key="jobs")

    def _attempt_jobs(self, query: Query, project: Project, number: int, attempt: int) -> Answer:
        return page(query, self._render.jobs(self._found(project, number), [attempt]), key="jobs")

    # -- refs ------------------------------------------------------------------------------------

    def refs(self, project: Project) -> list[str]:
        """Every branch and tag that exists, by its full name."""
        names = {f"refs/heads/{project.default_branch}"}
        for run in project.runs.values():
            if run.ref_kind == "tag":
                names.add(f"refs/tags/{run.ref}")
            elif ":" not in run.ref:
                names.add(f"refs/heads/{run.ref}")
        return sorted(names - self.deleted_refs[project.id])

    def _matching_refs(self, _query: Query, project: Project, name: str) -> Answer:
        found = [ref for ref in self.refs(project) if ref.startswith(f"refs/{name}")]
        return Answer([self._render.ref(project, ref) for ref in found])

    def _ref(self, _query: Query, project: Project, name: str) -> Answer:
        if f"refs/{name}" not in self.refs(project):
            raise not_found()
        return Answer(self._render.ref(project, f"refs/{name}"))

    def _pulls(self, query: Query, project: Project) -> Answer:
        rows = [self._render.pull(project, *one) for one in sorted(self.pulls[project.id].items())]
        return page(query, rows)

    # -- runners ---------------------------------------------------------------------------------

    def _runners(self, query: Query, project: Project | None) -> Answer:
        """Those of an organisation, or enterprise, take the jobs of all; a repository has none here."""
        if project is not None:
            return page(query, [], key="runners")
        running = {
            job.runner
            for one in self._forge.projects.values()
            for run in one.runs.values()
            if not run.finished
            for job in run.jobs
            if job.status == "running"
        }
        rows = [
            self._render.runner(
                number,
                busy=f"runner-{number}" in running,
                labels=("self-hosted", "linux"),
                online=number not in self.offline,
            )
            for number in range(1, self._forge.options.runners + 1)
        ]
        return page(query, rows, key="runners")


def not_found() -> Refusal:
    """What is hidden is said not to be there."""
    return Refusal(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"})


def _nowhere(_query: Query) -> Answer:
    raise not_found()


def _within(window: str, moment: int) -> bool:
    """Whether *moment* is in a window such as ``A..B``, ``>=A`` or ``<B``, both ends included."""
    moment = moment // 1000 * 1000
    low, dots, high = window.partition("..")
    if dots:
        return (low == "*" or parse(low) <= moment) and (high == "*" or moment <= parse(high))
    sign = window.rstrip("0123456789T:-Z+.")
    at = parse(window.removeprefix(sign))
    return {">=": moment >= at, ">": moment > at, "<=": moment <= at, "<": moment < at, "": moment == at}[
        sign
    ]


def page(
    query: Query,
    rows: Sequence[Any],
    render: Callable[[Any], object] = lambda row: row,
    *,
    key: str = "",
    most: int | None = None,
) -> Answer:
    """One page of *rows* with a Link header: a list, or under *key* with the total; no more than *most*."""
    number, size = query.number("page", 1, 1), min(100, query.number("per_page", 30, 1))
    reachable = rows if most is None else rows[:most]
    first = (number - 1) * size
    chosen = [render(row) for row in reachable[first : first + size]]
    last = max(1, -(-len(reachable) // size))
    targets = {"prev": number - 1, "next": number + 1, "last": last, "first": 1}
    wanted = (["prev", "first"] if number > 1 else []) + (["next", "last"] if number < last else [])
    links = [f'<{query.link(page=targets[rel])}>; rel="{rel}"' for rel in wanted]
    body: object = {"total_count": len(rows), key: chosen} if key else chosen
    return Answer(body, headers=[("Link", ", ".join(links))] if links else [])
