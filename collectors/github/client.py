"""GitHub's REST API: which calls there are, and what a 403 or 404 of each means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from collectors._api import Client
from collectors._http import Answer, NotThere, expect_list
from collectors._values import integer, json_object
from collectors.github.api import github_api
from collectors.github.settings import Connection
from exporter.contract import Context, Trouble
from exporter.errors import SourceError, UnitUnavailable

_MOST_PAGES = 1_000
_MOST_REMEMBERED = 20_000  # answers without which a round of ten thousand repositories is charged in full


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list, and its ETag; ``total`` is of all pages, ``more`` whether there are others."""

    entries: list[Any]
    total: int
    more: bool
    etag: str


class GitHubClient(Client):
    """The calls to GitHub; lists are remembered, since GitHub charges nothing for one that did not change."""

    def __init__(self, config: Connection, context: Context, collector: str) -> None:
        super().__init__(github_api(config, context, collector))
        self.per_page = config.per_page
        self._answers: dict[tuple[Any, ...], tuple[str, list[Any]]] = {}

    # -- repositories ----------------------------------------------------------------------------

    def repository(self, name: str) -> Any:
        """One repository by owner/name; a renamed or transferred one is found where it is now."""
        return self._body(self._api.get(f"repos/{quote(name)}", "repository"), "repository")

    def organization_repositories(self, name: str) -> Iterator[list[Any]]:
        """Pages of the repositories of an organisation."""
        return self._list(f"orgs/{quote(name, safe='')}/repos", "organization_repositories", type="all")

    def user_repositories(self, name: str) -> Iterator[list[Any]]:
        """Pages of the repositories of a user."""
        return self._list(f"users/{quote(name, safe='')}/repos", "user_repositories", type="owner")

    def own_repositories(self) -> Iterator[list[Any]]:
        """Pages of every repository that the owner of the token may see as theirs."""
        return self._list("user/repos", "own_repositories")

    def installation_repositories(self) -> Iterator[list[Any]]:
        """Pages of every repository of the App's installation."""
        path = "installation/repositories"
        return self._pages(path, "installation_repositories", "repositories")

    # -- runs ------------------------------------------------------------------------------------

    def newest_runs(self, repository: str, etag: str) -> Listed | None:
        """The newest page of runs; ``None`` if it is as it was with *etag*."""
        return self._runs(repository, "runs", etag)

    def created_runs(self, repository: str, start: datetime, end: datetime, etag: str = "") -> Listed | None:
        """A page of the runs created from *start* to *end*, both included; ``None`` if as with *etag*."""
        return self._runs(repository, "created_runs", etag, created=f"{_iso(start)}..{_iso(end)}")

    def all_created_runs(self, repository: str, instant: datetime) -> list[Any]:
        """Every run created in one second, up to the thousand that GitHub finds."""
        path = f"repos/{repository}/actions/runs"
        created = f"{_iso(instant)}..{_iso(instant)}"
        pages = self._pages(path, "created_runs", "workflow_runs", created=created)
        return [entry for page in pages for entry in page]

    def _runs(self, repository: str, operation: str, etag: str, **params: Any) -> Listed | None:
        params["per_page"] = self.per_page
        answer = self._api.get(f"repos/{repository}/actions/runs", operation, params, etag=etag)
        if answer.status == 304:
            return None
        try:
            body = json_object(self._body(answer, operation), operation)
        except NotThere as error:
            raise _unavailable(error) from error
        entries = expect_list(body.get("workflow_runs"), operation)
        return Listed(entries, integer(body, "total_count"), answer.next_url is not None, answer.etag)

    def run(self, repository: str, run_id: int) -> Any | None:
        """One run, ``None`` if it was deleted."""
        return self._or_none(f"repos/{repository}/actions/runs/{run_id}", "run")

    def attempt(self, repository: str, run_id: int, attempt: int) -> Any | None:
        """An earlier attempt of a run as it ended, ``None`` if it is not kept."""
        return self._or_none(f"repos/{repository}/actions/runs/{run_id}/attempts/{attempt}", "run_attempt")

    def jobs(self, repository: str, run_id: int, etag: str = "") -> tuple[list[Any], str] | None:
        """Every job of a run, of all attempts, and an ETag; ``None`` if the first page is as with *etag*."""
        path = f"repos/{repository}/actions/runs/{run_id}/jobs"
        answer = self._api.get(path, "jobs", {"per_page": self.per_page, "filter": "all"}, etag=etag)
        if answer.status == 304:
            return None
        try:
            pages = self._pages_from(answer, "jobs", "jobs")
            return [entry for page in pages for entry in page], answer.etag
        except NotThere as error:
            if error.status == 404:
                # The run was there a moment ago: deleted since, or asked of a replica that lags.
                raise SourceError(f"the jobs of run {run_id} are missing (404)") from error
            raise _unavailable(error) from error

    # -- runners ---------------------------------------------------------------------------------

    def runners(self, scope: str) -> list[Any]:
        """Every runner of ``enterprises/NAME``, ``orgs/NAME`` or ``repos/OWNER/NAME``."""
        pages = self._pages(f"{scope}/actions/runners", "runners", "runners")
        return [entry for page in pages for entry in page]

    def runs_of_status(self, repository: str, status: str) -> list[Any]:
        """The newest page of the runs in *status*; as last answered while nothing changed."""
        path = f"repos/{repository}/actions/runs"
        return self._remembered(path, "runs_of_status", "workflow_runs", status=status)

    def latest_jobs(self, repository: str, run_id: int) -> list[Any]:
        """The first page of the jobs of the present attempt; as last answered while nothing changed."""
        return self._remembered(f"repos/{repository}/actions/runs/{run_id}/jobs", "latest_jobs", "jobs")

    def _remembered(self, path: str, operation: str, key: str, **params: Any) -> list[Any]:
        """The list under *key*, empty if there is none (any more)."""
        known = (path, *sorted(params.items()))
        etag, entries = self._answers.get(known, ("", []))
        answer = self._api.get(path, operation, {"per_page": self.per_page, **params}, etag=etag)
        if answer.status == 304:
            return entries
        if answer.status != 200:
            return []
        entries = expect_list(json_object(answer.body, operation).get(key), operation)
        self._answers.pop(known, None)
        self._answers[known] = (answer.etag, entries)
        if len(self._answers) > _MOST_REMEMBERED:
            del self._answers[next(iter(self._answers))]
        return entries

    # -- refs ------------------------------------------------------------------------------------

    def refs(self, repository: str, sort: str, etag: str) -> tuple[list[Any], str] | None:
        """All branches (*sort* ``heads``) or ``tags``, and an ETag; ``None`` if they are as with *etag*."""
        answer = self._api.get(f"repos/{repository}/git/matching-refs/{sort}/", f"refs_{sort}", etag=etag)
        if answer.status == 304:
            return None
        return expect_list(self._body(answer, "refs"), "refs"), answer.etag

    def is_tag(self, repository: str, name: str) -> bool:
        """Whether there is a tag of that name; taken for a branch where the token may not look."""
        answer = self._api.get(f"repos/{repository}/git/ref/tags/{quote(name)}", "tag")
        return answer.status == 200

    def open_change_requests(self, repository: str, etag: str) -> tuple[list[Any], str] | None:
        """Every open pull request, and an ETag if they are one page; ``None`` if they are as with it."""
        params = {"state": "open", "per_page": self.per_page}
        path = f"repos/{repository}/pulls"
        answer = self._api.get(path, "pulls", params, etag=etag)
        if answer.status == 304:
            return None
        found = expect_list(self._body(answer, "pulls"), "pulls")
        etag = answer.etag if answer.next_url is None else ""
        while answer.next_url is not None:
            answer = self._api.get(answer.next_url, "pulls")
            found += expect_list(self._body(answer, "pulls"), "pulls")
        return found, etag

    # -- what these share --------------------------------------------------------------------------

    def _or_none(self, path: str, operation: str) -> Any | None:
        try:
            return self._body(self._api.get(path, operation), operation)
        except NotThere as error:
            if error.status == 404:
                return None
            raise _unavailable(error) from error

    def _list(self, path: str, operation: str, **params: Any) -> Iterator[list[Any]]:
        """All pages of a list."""
        return self._api.pages(path, operation, {"per_page": self.per_page, **params})

    def _pages(self, path: str, operation: str, key: str, **params: Any) -> Iterator[list[Any]]:
        """All pages of a list that is under *key* of an object."""
        answer = self._api.get(path, operation, {"per_page": self.per_page, **params})
        return self._pages_from(answer, operation, key)

    def _pages_from(self, answer: Answer, operation: str, key: str) -> Iterator[list[Any]]:
        """The page in *answer*, and all that follow."""
        for _ in range(_MOST_PAGES):
            body = json_object(self._body(answer, operation), operation)
            yield expect_list(body.get(key), operation)
            if answer.next_url is None:
                return
            answer = self._api.get(answer.next_url, operation)
        raise SourceError(f"{operation} does not end after {_MOST_PAGES} pages", permanent=True)


def _iso(instant: datetime) -> str:
    """*instant* in whole seconds of UTC, as GitHub takes it in a search."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _unavailable(error: NotThere) -> UnitUnavailable:
    """What a 403 or 404 on something of a repository means for the repository."""
    if error.status == 404:
        return UnitUnavailable("GitHub says 404: deleted, or hidden from this token", Trouble.NOT_FOUND)
    return UnitUnavailable(
        "GitHub says 403: Actions are disabled, or this token may not read them", Trouble.FORBIDDEN
    )
