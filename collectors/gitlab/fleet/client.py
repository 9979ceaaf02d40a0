"""The calls about runners: lists and details over REST, whole fleets over GraphQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from collectors._http import NotThere
from collectors.gitlab.client import GitLabClient
from collectors.gitlab.fleet.graphql import GraphQL
from collectors.gitlab.settings import Connection
from exporter.contract import Context


class RunnersClient(GitLabClient):
    """The client of GitLab with what concerns runners."""

    def __init__(self, config: Connection, context: Context, collector: str) -> None:
        super().__init__(config, context, collector)
        self.graphql = GraphQL(self._question, config.per_page)

    def _question(self, operation: str, question: Any) -> Any:
        url = self._api.base_url.removesuffix("/v4") + "/graphql"
        return self._body(self._api.post(url, operation, question), operation)

    def all_runners(self) -> Iterator[list[Any]]:
        """Pages of every runner of the instance; for administrators."""
        return self._pages("runners/all", "all_runners")

    def group_runners(self, group: str) -> Iterator[list[Any]]:
        """Pages of the runners of a group, of those above it, and of the instance."""
        return self._pages(f"groups/{quote(group, safe='')}/runners", "group_runners")

    def project_runners(self, project: str) -> Iterator[list[Any]]:
        """Pages of the runners that may serve a project."""
        return self._pages(f"projects/{quote(project, safe='')}/runners", "project_runners")

    def runner(self, runner_id: int) -> Any | None:
        """One runner in full; ``None`` if it is gone, or the token may not see it."""
        try:
            return self._get(f"runners/{runner_id}", "runner")
        except NotThere:
            return None

    def managers(self, runner_id: int) -> list[Any]:
        """The processes of one runner; none in old versions."""
        return self._all_or_none(f"runners/{runner_id}/managers", "runner_managers") or []

    def running_jobs(self, runner_id: int) -> int | None:
        """How many jobs one runner executes; ``None`` if the token may not see them."""
        jobs = self._all_or_none(f"runners/{runner_id}/jobs", "runner_jobs", status="running")
        return None if jobs is None else len(jobs)

    def pending_jobs(self, project: str) -> list[Any]:
        """The jobs of a project that wait for a runner; none where it has CI/CD switched off."""
        return self._all_or_none(f"projects/{project}/jobs", "pending_jobs", **{"scope[]": "pending"}) or []

    def _all_or_none(self, path: str, operation: str, **params: Any) -> list[Any] | None:
        try:
            return flat(self._pages(path, operation, **params))
        except NotThere:
            return None


def flat(pages: Iterator[list[Any]]) -> list[Any]:
    """All entries of all *pages*."""
    return [entry for page in pages for entry in page]
