"""Whose runners are read: the instance, groups and projects; by which API; and which projects that are."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from collectors._http import NotThere
from collectors.gitlab import mapping
from collectors.gitlab.fleet.client import RunnersClient, flat
from collectors.gitlab.fleet.graphql import NoGraphQL
from collectors.gitlab.fleet.settings import RunnersConfig
from exporter.contract import Trouble, UnitTrouble

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose runners are read: ``kind`` is instance, group or project; ``name`` is empty for the instance."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


INSTANCE = Scope("instance")


def scopes_of(config: RunnersConfig) -> list[Scope]:
    """Every scope that the configuration names, each once."""
    named = [Scope("group", name) for name in dict.fromkeys(config.groups)]
    named += [Scope("project", name) for name in dict.fromkeys(config.projects)]
    return [INSTANCE, *named] if config.instance else named


def trouble_of(scope: Scope, error: NotThere) -> UnitTrouble:
    """What a 403 or 404 means for a scope."""
    if error.status == 404:
        return UnitTrouble(str(scope), Trouble.NOT_FOUND, "GitLab says 404: it does not exist, or is hidden")
    needs = "an administrator's token" if scope.kind == "instance" else "a token with the role Maintainer"
    return UnitTrouble(str(scope), Trouble.FORBIDDEN, f"GitLab says 403: its runners need {needs}")


class Ways:
    """By which API to ask each question; what GraphQL refused goes over REST until the next discovery."""

    def __init__(self, *, graphql: bool) -> None:
        self._graphql = graphql
        self._refused: set[str] = set()
        self._told: dict[str, str] = {}

    def forget(self) -> None:
        """Try GraphQL again: the version or the rights may have changed."""
        self._refused = set()

    def graphql(self, question: object) -> bool:
        """Whether to ask GraphQL."""
        return self._graphql and str(question) not in self._refused

    def refuse(self, question: object, error: NoGraphQL) -> None:
        """GraphQL is no way for *question*."""
        self._refused.add(str(question))
        self.tell(question, "rest", str(error))

    def tell(self, question: object, way: str, reason: str = "") -> None:
        """Log by which API something is read, once for each change."""
        if self._told.get(str(question)) != way:
            self._told[str(question)] = way
            log.info("runners are read", extra={"what": str(question), "api": way, "reason": reason})


class ScopeProjects:
    """``(id, path)`` of the projects with CI/CD in each scope, read anew after each discovery."""

    def __init__(self, client: RunnersClient) -> None:
        self._client = client
        self._known: dict[Scope, list[tuple[str, str]]] = {}
        self.troubles: list[UnitTrouble] = []

    def forget(self) -> None:
        """Read all of them anew when they are needed next."""
        self._known = {}

    def among(self, scopes: Iterable[Scope]) -> dict[str, str]:
        """``id -> path`` of the projects of groups and projects; a scope that is refused adds a trouble."""
        return dict(project for scope in scopes if scope.kind != "instance" for project in self._of(scope))

    def _of(self, scope: Scope) -> list[tuple[str, str]]:
        if scope not in self._known:
            try:
                found = self._read(scope)
            except NotThere as error:
                self.troubles.append(trouble_of(scope, error))
                return []
            units = [mapping.unit(each) for each in found if _has_ci(each)]
            self._known[scope] = [(unit.key, unit.name) for unit in units]
        return self._known[scope]

    def _read(self, scope: Scope) -> list[Any]:
        if scope.kind == "project":
            return [self._client.project(scope.name)]
        return flat(self._client.group_projects(scope.name, subgroups=True, archived=False))


def _has_ci(project: object) -> bool:
    """Whether an entry of a list of projects may have jobs."""
    if not isinstance(project, dict):
        return True
    return project.get("builds_access_level") != "disabled" and project.get("jobs_enabled") is not False
