"""GitLab's REST API v4: which calls there are, and what a 403, 404 or redirect of each means."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from collectors._api import Client
from collectors._connection import api_client
from collectors._http import Answer, NotThere, expect_list
from collectors.gitlab import mapping
from collectors.gitlab.settings import Connection
from collectors.gitlab.values import json_object
from exporter.contract import Context, Trouble
from exporter.errors import SourceError, UnitUnavailable


def api_url(url: str) -> str:
    """The base of the API, from a GitLab URL with or without ``/api/v4``."""
    return url.rstrip("/").removesuffix("/api/v4").rstrip("/") + "/api/v4"


def iso(instant: datetime) -> str:
    """*instant* as GitLab takes it in a query: UTC with ``Z``, since a ``+`` would be read as a blank."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class GitLabClient(Client):
    """The calls to GitLab; a subclass adds those of one collector."""

    def __init__(self, config: Connection, context: Context, collector: str = "gitlab") -> None:
        super().__init__(api_client(config, context, collector, base_url=api_url(config.url)))
        self.per_page = config.per_page

    def _pages(self, path: str, operation: str, **params: Any) -> Iterator[list[Any]]:
        """All pages of a list."""
        return self._api.pages(path, operation, {"per_page": self.per_page, **params})

    def _answers(self, path: str, operation: str, **params: Any) -> Iterator[Answer]:
        """The same with what came beside the entries."""
        return self._api.answers(path, operation, {"per_page": self.per_page, **params})

    # -- projects ------------------------------------------------------------------------------

    def project(self, name: str) -> Any:
        """One project by path or id; a moved one is found where it is now."""
        return self._get(f"projects/{quote(name, safe='')}", "project")

    def group_projects(self, group: str, *, subgroups: bool, archived: bool) -> Iterator[list[Any]]:
        """Pages of the projects of a group."""
        return self._pages(
            f"groups/{quote(group, safe='')}/projects",
            "group_projects",
            include_subgroups=boolean(subgroups),
            with_shared="false",
            order_by="id",
            sort="asc",
            **without_archived(archived),
        )

    def user_projects(self, user: str, *, archived: bool) -> Iterator[list[Any]]:
        """Pages of the projects of a user."""
        path = f"users/{quote(user, safe='')}/projects"
        return self._pages(path, "user_projects", order_by="id", sort="asc", **without_archived(archived))

    def all_projects(self, *, member: bool, archived: bool) -> Iterator[list[Any]]:
        """Pages of every project the token sees, or only of those it is a member of."""
        return self._pages(
            "projects",
            "projects",
            membership=boolean(member),
            order_by="id",
            sort="asc",
            pagination="keyset",
            **without_archived(archived),
        )

    # -- pipelines -----------------------------------------------------------------------------

    def changed_pipelines(
        self,
        project: str,
        after: datetime,
        page: int,
        *,
        before: datetime | None = None,
        source: str | None = None,
    ) -> list[mapping.ListEntry]:
        """One page of the pipelines updated at or after *after*, the longest unchanged first.

        Child pipelines are not among them, unless *source* asks for them alone.
        """
        more = {"updated_before": iso(before)} if before else {}
        if source:
            more["source"] = source
        body = self._project_list(
            project,
            "pipelines",
            "pipelines",
            updated_after=iso(after),
            order_by="updated_at",
            sort="asc",
            page=page,
            per_page=self.per_page,
            **more,
        )
        return [mapping.list_entry(entry) for entry in body]

    def newest_pipelines(self, project: str, scope: str) -> list[mapping.ListEntry]:
        """The newest pipeline of every existing branch or tag (*scope* ``branches`` or ``tags``)."""
        try:
            pages = self._pages(f"projects/{project}/pipelines", f"pipelines_{scope}", scope=scope)
            return [mapping.list_entry(entry) for page in pages for entry in page]
        except NotThere as error:
            raise _unavailable(error) from error

    def pipeline(self, project: str, run_id: int) -> Any | None:
        """One pipeline in full, ``None`` if it was deleted."""
        try:
            # Of the right shape already here: null would be taken for a pipeline that was deleted.
            return json_object(self._get(f"projects/{project}/pipelines/{run_id}", "pipeline"), "pipeline")
        except NotThere as error:
            if error.status == 404:
                return None
            raise _unavailable(error) from error

    def jobs(self, project: str, run_id: int) -> list[Any]:
        """Every job of a pipeline, retried ones too."""
        return self._of_pipeline(project, run_id, "jobs", include_retried="true")

    def bridges(self, project: str, run_id: int) -> list[Any]:
        """The jobs of a pipeline that start other pipelines, retried ones too where GitLab gives them."""
        return self._of_pipeline(project, run_id, "bridges", include_retried="true")

    def _of_pipeline(self, project: str, run_id: int, what: str, **params: Any) -> list[Any]:
        try:
            pages = self._pages(f"projects/{project}/pipelines/{run_id}/{what}", f"pipeline_{what}", **params)
            return [entry for page in pages for entry in page]
        except NotThere as error:
            if error.status == 404:
                # The pipeline was there a moment ago: deleted since, or asked of a replica that lags.
                raise SourceError(f"{what} of pipeline {run_id} are missing (404)") from error
            raise _unavailable(error) from error

    def open_change_requests(self, project: str) -> list[Any] | None:
        """Every open merge request; ``None`` where the project has them switched off."""
        try:
            pages = self._pages(
                f"projects/{project}/merge_requests", "merge_requests", state="opened", view="simple"
            )
            return [entry for page in pages for entry in page]
        except NotThere:
            return None

    def _list(self, path: str, operation: str, **params: Any) -> list[Any]:
        """One page of a list; 403 and 404 raise `NotThere`."""
        return expect_list(self._get(path, operation, **params), operation)

    def _or_none(self, path: str, operation: str, **params: Any) -> Any | None:
        """One thing; ``None`` if it is gone, or hidden from the token."""
        try:
            return self._get(path, operation, **params)
        except NotThere:
            return None

    def _project_list(self, project: str, path: str, operation: str, **params: Any) -> list[Any]:
        try:
            return self._list(f"projects/{project}/{path}", operation, **params)
        except NotThere as error:
            raise _unavailable(error) from error


def _unavailable(error: NotThere) -> UnitUnavailable:
    """What a 403 or 404 on a project's list means for the project."""
    if error.status == 404:
        return UnitUnavailable("GitLab says 404: deleted, or hidden from this token", Trouble.NOT_FOUND)
    return UnitUnavailable(
        "GitLab says 403: CI/CD is disabled, or this token may not read pipelines", Trouble.FORBIDDEN
    )


def boolean(value: bool) -> str:
    """*value* as GitLab takes it in a query."""
    return "true" if value else "false"


def without_archived(included: bool) -> dict[str, str]:
    """The parameter that leaves archived projects out, or none: that gives both."""
    return {} if included else {"archived": "false"}
