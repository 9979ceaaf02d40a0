"""Which repositories to watch: those named, those of organisations and users, or all that we may see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from collectors._http import NotThere
from collectors.github import mapping
from collectors.github.client import GitHubClient
from collectors.github.settings import GitHubConfig
from exporter.contract import Discovery, Trouble, Unit, UnitTrouble


class Discoverer:
    """Collects one discovery; a name that leads nowhere costs only itself."""

    def __init__(self, client: GitHubClient, config: GitHubConfig) -> None:
        self._client = client
        self._config = config
        self._units: dict[str, Unit] = {}
        self._troubles: list[UnitTrouble] = []

    def run(self) -> Discovery:
        """Ask for everything that the configuration names; any other failure than 403 or 404 is raised."""
        config, client = self._config, self._client
        for name in config.repositories:
            self._named(name)
        for organization in config.organizations:
            pages = client.organization_repositories(organization.name)
            self._listed(organization.name, pages, organization.exclude)
        for user in config.users:
            self._listed(user, client.user_repositories(user), ())
        if config.everything:
            pages = client.installation_repositories() if config.app_id else client.own_repositories()
            self._listed("all repositories", pages, ())
        return Discovery(tuple(self._units.values()), tuple(self._troubles))

    def _named(self, name: str) -> None:
        """Take one repository by owner/name."""
        try:
            repository = self._client.repository(name)
        except NotThere as error:
            self._troubles.append(_not_there(name, error))
            return
        unit = mapping.unit(repository)
        if unit.name.lower() != name.lower():
            detail = f"it is {unit.name} now; change the configuration"
            self._troubles.append(UnitTrouble(name, Trouble.MOVED, detail))
        self._take(unit, repository, named=True)

    def _listed(self, name: str, pages: Iterator[list[Any]], exclude: Iterable[str]) -> None:
        """Take all repositories of a list but the excluded ones."""
        try:
            for page in pages:
                for repository in page:
                    unit = mapping.unit(repository)
                    if not any(fnmatchcase(unit.name, glob) for glob in exclude):
                        self._take(unit, repository)
        except NotThere as error:
            self._troubles.append(_not_there(name, error))

    def _take(self, unit: Unit, repository: Any, *, named: bool = False) -> None:
        """Watch the repository, unless it is excluded, switched off, or archived and not named."""
        if unit.key in self._units or any(fnmatchcase(unit.name, glob) for glob in self._config.exclude):
            return
        if repository.get("disabled"):
            detail = "GitHub has switched the repository off"
            self._troubles.append(UnitTrouble(unit.name, Trouble.CI_DISABLED, detail))
        elif named or self._config.archived or not repository.get("archived"):
            self._units[unit.key] = unit


def _not_there(name: str, error: NotThere) -> UnitTrouble:
    if error.status == 404:
        return UnitTrouble(name, Trouble.NOT_FOUND, "GitHub says 404: it does not exist, or is hidden")
    return UnitTrouble(name, Trouble.FORBIDDEN, "GitHub says 403: this token or App may not read it")
