"""Which projects to watch: those named, those of groups and users, or everything the token sees."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from collectors import _discovery
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


class Discoverer(_discovery.Discoverer):
    """Collects one discovery of projects.

    A project without CI/CD needs attention, for it is expected of one that is watched; one without
    environments or merge requests is only left out.
    """

    source: ClassVar[str] = "GitLab"

    def __init__(self, client: GitLabClient, config: Watched, feature: Feature = Feature.CI) -> None:
        super().__init__(mapping.unit, config.exclude)
        self._client = client
        self._config = config
        self._feature = feature

    def run(self) -> Discovery:
        """Ask for everything that the configuration names; any other failure than 403 or 404 is raised."""
        config, client = self._config, self._client
        for name in config.projects:
            self._named(name, client.project)
        for group in config.groups:
            pages = client.group_projects(
                group.path, subgroups=group.include_subgroups, archived=config.archived
            )
            self._listed(group.path, pages, group.exclude)
        for user in config.users:
            self._listed(user, client.user_projects(user, archived=config.archived))
        if config.everything != "none":
            pages = client.all_projects(member=config.everything == "member", archived=config.archived)
            self._listed("all projects", pages)
        return self.discovery

    def _take(self, unit: Unit, given: Any, *, named: bool) -> bool:
        """Watch the project, unless it has nothing to watch."""
        if unit.key in self._units:
            return False
        is_ci = self._feature is Feature.CI
        if _switched_off(given, self._feature):
            if is_ci:
                self._troubles.append(UnitTrouble(unit.name, Trouble.CI_DISABLED, "CI/CD is switched off"))
            return False
        if is_ci and given.get("empty_repo"):
            self._troubles.append(UnitTrouble(unit.name, Trouble.EMPTY, "the repository is empty"))
        self._units[unit.key] = unit
        return True


def _switched_off(project: Any, feature: Feature) -> bool:
    flag = _FLAGS.get(feature, "")
    return project.get(f"{feature.value}_access_level") == "disabled" or project.get(flag) is False
