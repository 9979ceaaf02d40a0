"""The calls about environments, deployments, and how far these are behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

from collectors._http import NotThere
from collectors.gitlab.client import GitLabClient, iso
from exporter.contract import Trouble
from exporter.errors import UnitUnavailable


class DeploymentsClient(GitLabClient):
    """The client of GitLab with what concerns deployments."""

    def changed_deployments(self, project: str, after: datetime, page: int) -> list[Any]:
        """One page of the deployments updated at or after *after*, the longest unchanged first.

        GitLab takes ``updated_after`` only together with this order.
        """
        order = {"order_by": "updated_at", "sort": "asc"}
        return self._deployments(project, updated_after=iso(after), page=page, **order)

    def newest_deployments(self, project: str, environment: str | None = None) -> list[Any]:
        """The newest deployments, of one environment if it is named, the newest first; one page."""
        one = {} if environment is None else {"environment": environment}
        return self._deployments(project, order_by="id", sort="desc", **one)

    def _deployments(self, project: str, **params: Any) -> list[Any]:
        path = f"projects/{project}/deployments"
        try:
            return self._list(path, "deployments", per_page=self.per_page, **params)
        except NotThere as error:
            raise _unavailable(error) from error

    def deployment(self, project: str, number: int) -> Any | None:
        """One deployment; ``None`` if it is gone."""
        return self._or_none(f"projects/{project}/deployments/{number}", "deployment")

    def environments(self, project: str, *, available: bool) -> Iterator[list[Any]]:
        """Pages of the environments of a project: those that can be deployed to, or stopped ones too."""
        states = {"states": "available"} if available else {}
        try:
            yield from self._pages(f"projects/{project}/environments", "environments", **states)
        except NotThere as error:
            raise _unavailable(error) from error

    def environment(self, project: str, number: int) -> Any | None:
        """One environment, stopped or not; ``None`` if it is gone."""
        return self._or_none(f"projects/{project}/environments/{number}", "environment")

    def branch(self, project: str, name: str) -> Any | None:
        """One branch; ``None`` where there is none, or the token may not read the repository."""
        return self._or_none(f"projects/{project}/repository/branches/{quote(name, safe='')}", "branch")

    def commit(self, project: str, sha: str) -> Any | None:
        """One commit; ``None`` if it is gone."""
        return self._or_none(f"projects/{project}/repository/commits/{quote(sha, safe='')}", "commit")

    def compare(self, project: str, old: str, new: str) -> Any | None:
        """What *new* has since it and *old* parted; ``None`` if one of them is gone."""
        parameters = {"from": old, "to": new}
        return self._or_none(f"projects/{project}/repository/compare", "compare", **parameters)


def _unavailable(error: NotThere) -> UnitUnavailable:
    """What a 403 or 404 on a project's list means for the project."""
    if error.status == 404:
        return UnitUnavailable("GitLab says 404: deleted, or hidden from this token", Trouble.NOT_FOUND)
    return UnitUnavailable(
        "GitLab says 403: environments are switched off, or this token may not read deployments",
        Trouble.FORBIDDEN,
    )
