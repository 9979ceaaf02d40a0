"""Which projects to watch: those named, those of groups and users, or everything the token sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from collectors._http import NotThere
from collectors.gitlab import mapping
from collectors.gitlab.client import GitLabClient
from collectors.gitlab.settings import Watched
from exporter.contract import Discovery, Trouble, Unit, UnitTrouble


class Feature(StrEnum):
    """What of a project is to be watched; in each it may be switched off."""

    CI = "builds"
    ENVIRONMENTS = "environments"
    CHANGES = "merge_requests"


# How older versions say whether a feature is on.
_FLAGS = {Feature.CI: "jobs_enabled", Feature.CHANGES: "merge_requests_enabled"}


class Discoverer:
    """Collects one discovery; a name that leads nowhere costs only itself.

    A project without CI/CD needs attention, for it is expected of one that is watched; one without
    environments or merge requests is only left out.
    """

    def __init__(self, client: GitLabClient, config: Watched, feature: Feature = Feature.CI) -> None:
        self._client = client
        self._config = config
        self._feature = feature
        self._units: dict[str, Unit] = {}
        self._troubles: list[UnitTrouble] = []

    def run(self) -> Discovery:
        """Ask for everything that the configuration names; any other failure than 403 or 404 is raised."""
        config, client = self._config, self._client
        for name in config.projects:
            self._named(name)
        for group in config.groups:
            pages = client.group_projects(
                group.path, subgroups=group.include_subgroups, archived=config.archived
            )
            self._listed(group.path, pages, group.exclude)
        for user in config.users:
            self._listed(user, client.user_projects(user, archived=config.archived), ())
        if config.everything != "none":
            pages = client.all_projects(member=config.everything == "member", archived=config.archived)
            self._listed("all projects", pages, ())
        return Discovery(tuple(self._units.values()), tuple(self._troubles))

    def _named(self, name: str) -> None:
        """Take one project by path or id."""
        try:
            project = self._client.project(name)
        except NotThere as error:
            self._troubles.append(_not_there(name, error))
            return
        unit = mapping.unit(project)
        if not name.isdigit() and unit.name.lower() != name.strip("/").lower():
            detail = f"it is {unit.name} now; change the configuration"
            self._troubles.append(UnitTrouble(name, Trouble.MOVED, detail))
        self._take(unit, project)

    def _listed(self, name: str, pages: Iterator[list[Any]], exclude: Iterable[str]) -> None:
        """Take all projects of a list but the excluded ones."""
        try:
            for page in pages:
                for project in page:
                    unit = mapping.unit(project)
                    if not any(fnmatchcase(unit.name, glob) for glob in exclude):
                        self._take(unit, project)
        except NotThere as error:
            self._troubles.append(_not_there(name, error))

    def _take(self, unit: Unit, project: Any) -> None:
        """Watch the project, unless it is excluded or has nothing to watch."""
        if unit.key in self._units or any(fnmatchcase(unit.name, glob) for glob in self._config.exclude):
            return
        is_ci = self._feature is Feature.CI
        if _switched_off(project, self._feature):
            if is_ci:
                self._troubles.append(UnitTrouble(unit.name, Trouble.CI_DISABLED, "CI/CD is switched off"))
            return
        if is_ci and project.get("empty_repo"):
            self._troubles.append(UnitTrouble(unit.name, Trouble.EMPTY, "the repository is empty"))
        self._units[unit.key] = unit


def _switched_off(project: Any, feature: Feature) -> bool:
    flag = _FLAGS.get(feature, "")
    return project.get(f"{feature.value}_access_level") == "disabled" or project.get(flag) is False


def _not_there(name: str, error: NotThere) -> UnitTrouble:
    if error.status == 404:
        return UnitTrouble(name, Trouble.NOT_FOUND, "GitLab says 404: it does not exist, or is hidden")
    return UnitTrouble(name, Trouble.FORBIDDEN, "GitLab says 403: this token may not read it")
