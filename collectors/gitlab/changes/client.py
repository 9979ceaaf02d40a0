"""The calls about merge requests and what is said about them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from collectors._http import NotThere
from collectors.gitlab.client import GitLabClient, iso
from exporter.contract import Trouble
from exporter.errors import UnitUnavailable


class ChangesClient(GitLabClient):
    """The client of GitLab with what concerns merge requests."""

    def changed(self, project: str, after: datetime, page: int) -> list[Any]:
        """One page of the merge requests updated at or after *after*, the longest unchanged first."""
        try:
            return self._list(
                f"projects/{project}/merge_requests",
                "changed_merge_requests",
                updated_after=iso(after),
                order_by="updated_at",
                sort="asc",
                scope="all",
                state="all",
                page=page,
                per_page=self.per_page,
            )
        except NotThere as error:
            raise _unavailable(error) from error

    def open(self, project: str) -> Iterator[list[Any]]:
        """Pages of every open merge request, the oldest first."""
        path = f"projects/{project}/merge_requests"
        order = {"order_by": "created_at", "sort": "asc"}
        try:
            yield from self._pages(path, "open_merge_requests", state="opened", scope="all", **order)
        except NotThere as error:
            raise _unavailable(error) from error

    def change(self, project: str, number: int) -> Any | None:
        """One merge request; ``None`` if it is gone."""
        return self._or_none(f"projects/{project}/merge_requests/{number}", "merge_request")

    def notes(self, project: str, number: int) -> Iterator[list[Any]]:
        """Pages of what was said about a merge request, the oldest first; none if it is gone."""
        path = f"projects/{project}/merge_requests/{number}/notes"
        try:
            yield from self._pages(path, "merge_request_notes", order_by="created_at", sort="asc")
        except NotThere:
            return


def _unavailable(error: NotThere) -> UnitUnavailable:
    """What a 403 or 404 on a project's list means for the project."""
    if error.status == 404:
        return UnitUnavailable("GitLab says 404: deleted, or hidden from this token", Trouble.NOT_FOUND)
    return UnitUnavailable(
        "GitLab says 403: merge requests are switched off, or this token may not read them", Trouble.FORBIDDEN
    )
