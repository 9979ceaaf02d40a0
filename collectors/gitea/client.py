"""Gitea's REST API v1: which calls there are, and what a 403 or 404 of each means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

from collectors._api import Client
from collectors._connection import api_client
from collectors._http import Answer, NotThere
from collectors.gitea import forgejo, mapping
from collectors.gitea.settings import Connection
from exporter.contract import Context, Trouble
from exporter.errors import BadAnswer, SourceError, UnitUnavailable

_MAX_PAGES = 1_000
_TASK_PAGES = 4  # of Forgejo's tasks that are searched for those of one run
T = TypeVar("T")
_UNFINISHED = ("queued", "waiting", "in_progress")


def api_url(url: str) -> str:
    """The base of the API, from an address with or without ``/api/v1``."""
    return url.rstrip("/").removesuffix("/api/v1").rstrip("/") + "/api/v1"


class GiteaClient(Client):
    """The calls to Gitea, or to Forgejo."""

    def __init__(self, config: Connection, context: Context, collector: str) -> None:
        super().__init__(api_client(config, context, collector, base_url=api_url(config.url)))
        self.per_page = config.per_page
        self.is_forgejo = False
        self._unknown = context.api.unknown_value

    def _lists(self, path: str, operation: str, key: str = "", **params: Any) -> Iterator[list[Any]]:
        """All pages of a list, which stands under *key* of an object, or is the answer itself.

        By number, for lists of runners have no link to the next one. A page that comes twice stands in the
        place of another one: the list is not complete.
        """
        before: list[Any] = []
        for page in range(1, _MAX_PAGES + 1):
            answer = self._api.get(path, operation, {"limit": self.per_page, "page": page, **params})
            found = mapping.entries(self._body(answer, operation), key)
            if found and found == before:
                raise BadAnswer(f"{operation}: the same page came twice")
            before = found
            if found:
                yield found
            if not found or _is_last(answer, page * len(found)):
                return
        raise SourceError(f"{operation} does not end after {_MAX_PAGES} pages", permanent=True)

    def recognise(self) -> None:
        """Find out whether it is Forgejo; without an answer it is what it was taken for."""
        try:
            body = self._get("version", "version")
        except NotThere:
            return
        self.is_forgejo = isinstance(body, dict) and forgejo.is_forgejo(str(body.get("version")))

    # -- repositories --------------------------------------------------------------------------

    def repository(self, name: str) -> Any:
        """One repository by owner/name; a renamed one is found where it is now."""
        return self._get(f"repos/{_path(name)}", "repository")

    def organization_repositories(self, name: str) -> Iterator[list[Any]]:
        """Pages of the repositories of an organisation."""
        return self._lists(f"orgs/{_path(name)}/repos", "organization_repositories")

    def user_repositories(self, name: str) -> Iterator[list[Any]]:
        """Pages of the repositories of a user."""
        return self._lists(f"users/{_path(name)}/repos", "user_repositories")

    def own_repositories(self) -> Iterator[list[Any]]:
        """Pages of the repositories that the token's user owns or works on."""
        return self._lists("user/repos", "own_repositories")

    def all_repositories(self) -> Iterator[list[Any]]:
        """Pages of all repositories that the token sees: all there are if it is an administrator's."""
        return self._lists("repos/search", "repositories", "data", sort="id", order="asc")

    # -- refs ----------------------------------------------------------------------------------

    def branches(self, repository: str) -> Iterator[list[Any]]:
        """Pages of the branches."""
        return self._lists(f"repos/{_path(repository)}/branches", "branches")

    def tags(self, repository: str) -> Iterator[list[Any]]:
        """Pages of the tags."""
        return self._lists(f"repos/{_path(repository)}/tags", "tags")

    def open_pulls(self, repository: str) -> list[Any]:
        """Every open pull request; none where they are switched off."""
        path = f"repos/{_path(repository)}/pulls"
        try:
            return [entry for page in self._lists(path, "pulls", state="open") for entry in page]
        except NotThere:
            return []

    # -- runs ----------------------------------------------------------------------------------

    def newest_runs(self, scope: str, *, unfinished: bool = False) -> Iterator[list[mapping.Run]]:
        """Pages of the runs of *scope*, those with the highest ids first; only unfinished ones if asked."""
        words = forgejo.UNFINISHED if self.is_forgejo else _UNFINISHED
        params: dict[str, Any] = {"status": words} if unfinished else {}
        for page in self._lists(f"{scope}/actions/runs", "runs", "workflow_runs", **params):
            yield self._readable(page, self._run, "run")

    def _run(self, entry: Any) -> mapping.Run:
        parse = forgejo.run if self.is_forgejo else mapping.run
        return parse(entry, unknown=self._unknown)

    def newest_jobs(self, scope: str) -> Iterator[list[mapping.Job]]:
        """Pages of the jobs of *scope*, the newest first from Gitea 1.27 on; before that, in no order."""
        for page in self._lists(f"{scope}/actions/jobs", "jobs", "jobs", sort="id", order="desc"):
            yield self._readable(page, self._job, "job")

    def run(self, repository: str, run_id: int) -> mapping.Run | None:
        """One run, ``None`` if it was deleted."""
        try:
            body = self._get(f"repos/{_path(repository)}/actions/runs/{run_id}", "run")
        except NotThere as error:
            if error.status == 404:
                return None
            raise unavailable(error) from error
        return self._run(body)

    def run_jobs(self, repository: str, run: mapping.Run) -> list[mapping.Job]:
        """The jobs of that attempt of a run; of the newest one where Gitea knows no attempts."""
        if self.is_forgejo:
            return forgejo.jobs(run, self._tasks(repository, run))
        where = f"repos/{_path(repository)}/actions/runs/{run.run_id}"
        if run.has_attempts and run.attempt:
            where += f"/attempts/{run.attempt}"
        try:
            pages = self._lists(f"{where}/jobs", "run_jobs", "jobs")
            return [job for page in pages for job in self._jobs(page)]
        except NotThere as error:
            if error.status == 404:
                # The run was there a moment ago: deleted since, or asked of a replica that lags.
                raise SourceError(f"jobs of run {run.run_id} are missing (404)") from error
            raise unavailable(error) from error

    def _tasks(self, repository: str, run: mapping.Run) -> list[forgejo.Task]:
        """What Forgejo's runners executed of a run, as far as it is among the newest of the repository."""
        path = f"repos/{_path(repository)}/actions/tasks"
        found: list[forgejo.Task] = []
        pages = self._lists(path, "tasks", "workflow_runs")
        for _, page in zip(range(_TASK_PAGES), pages, strict=False):
            tasks = [forgejo.task(entry, unknown=self._unknown) for entry in page]
            found += [task for task in tasks if task.run_number == run.number]
            if run.created_at and tasks[-1].created_at < run.created_at:
                break
        return found

    def attempt(self, repository: str, run_id: int, number: int) -> mapping.Run | None:
        """A run as it was in an earlier attempt, ``None`` if that was deleted."""
        path = f"repos/{_path(repository)}/actions/runs/{run_id}/attempts/{number}"
        try:
            return mapping.run(self._get(path, "run_attempt"), unknown=self._unknown)
        except NotThere as error:
            if error.status == 404:
                return None
            raise unavailable(error) from error

    def _jobs(self, page: list[Any]) -> list[mapping.Job]:
        return [self._job(entry) for entry in page]

    def _job(self, entry: Any) -> mapping.Job:
        return mapping.job(entry, unknown=self._unknown)

    def _readable(self, page: list[Any], parse: Callable[[Any], T], what: str) -> list[T]:
        """What can be understood of *page*: one odd entry must not hide all that is listed with it.

        The others are counted as unknown values.

        Raises:
            BadAnswer: nothing can be understood.
        """
        found: list[T] = []
        failure: BadAnswer | None = None
        for entry in page:
            try:
                found.append(parse(entry))
            except BadAnswer as error:
                failure = error
                self._unknown(what)
        if failure is not None and not found:
            raise failure
        return found

    # -- runners -------------------------------------------------------------------------------

    def runners(self, scope: str) -> Iterator[list[Any]]:
        """Pages of the runners of *scope*, in an order that changes; the instance's are all there are."""
        return self._lists(f"{scope}/actions/runners", "runners", "runners")

    def jobs_in(self, scope: str, status: str) -> Iterator[list[mapping.Job]]:
        """Pages of the jobs of *scope* in one status, as Gitea calls it."""
        for page in self._lists(f"{scope}/actions/jobs", f"jobs_{status}", "jobs", status=status):
            yield self._readable(page, self._job, "job")


def _is_last(answer: Answer, so_far: int) -> bool:
    """Whether a page is the last one, with at most *so_far* entries up to its end."""
    if answer.next_url is not None:
        return False
    if "Link" in answer.headers:
        return True
    total = answer.headers.get("X-Total-Count", "")
    return so_far >= (int(total) if total.isdecimal() else mapping.total_count(answer.body))


def _path(name: str) -> str:
    """A name, or owner/name, as a part of an address."""
    return quote(name, safe="/")


def repository_scope(name: str) -> str:
    """Where lists of one repository are."""
    return f"repos/{_path(name)}"


def organization_scope(name: str) -> str:
    """Where lists of all repositories of an organisation are."""
    return f"orgs/{_path(name)}"


INSTANCE_SCOPE = "admin"


def unavailable(error: NotThere) -> UnitUnavailable:
    """What a 403 or 404 on a repository's list means for the repository."""
    if error.status == 404:
        return UnitUnavailable("Gitea says 404: deleted, or hidden from this token", Trouble.NOT_FOUND)
    return UnitUnavailable("Gitea says 403: the token lacks the scope read:repository", Trouble.FORBIDDEN)
