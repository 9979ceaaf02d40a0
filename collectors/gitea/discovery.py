"""Which repositories to watch: those named, those of organisations and users, or all there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from collectors._http import NotThere
from collectors.gitea import mapping
from collectors.gitea.client import INSTANCE_SCOPE, GiteaClient, organization_scope
from collectors.gitea.settings import GiteaConfig
from exporter.contract import Discovery, Trouble, Unit, UnitTrouble

_FORBIDDEN = (
    "Gitea says 403: the token lacks a scope for it (read:user, read:organization?), or its user a right"
)


@dataclass(slots=True)
class Found:
    """The repositories, and which of them are those of a scope with one list for all of its runs."""

    units: dict[str, Unit] = field(default_factory=dict)
    scopes: dict[str, list[Unit]] = field(default_factory=dict)
    troubles: list[UnitTrouble] = field(default_factory=list)

    @property
    def discovery(self) -> Discovery:
        """What the engine is told."""
        return Discovery(tuple(self.units.values()), tuple(self.troubles))


def discover(client: GiteaClient, config: GiteaConfig) -> Found:
    """Ask for everything that the configuration names; any other failure than 403 or 404 is raised."""
    discoverer = _Discoverer(client, config)
    if config.instance:
        discoverer.listed("all repositories", client.all_repositories(), INSTANCE_SCOPE)
    for name in config.organizations:
        discoverer.listed(name, client.organization_repositories(name), organization_scope(name))
    for name in config.users:
        discoverer.listed(name, client.user_repositories(name))
    for name in config.repositories:
        discoverer.named(name)
    if config.everything:
        discoverer.listed("repositories of the token's user", client.own_repositories())
    return discoverer.found


class _Discoverer:
    """Collects one discovery; a name that leads nowhere costs only itself."""

    def __init__(self, client: GiteaClient, config: GiteaConfig) -> None:
        self.found = Found()
        self._client = client
        self._config = config

    def named(self, name: str) -> None:
        """Take one repository."""
        try:
            repository = self._client.repository(name)
        except NotThere as error:
            self.found.troubles.append(_not_there(name, error))
            return
        unit = mapping.unit(repository)
        if unit.name.lower() != name.lower():
            detail = f"it is {unit.name} now; change the configuration"
            self.found.troubles.append(UnitTrouble(name, Trouble.MOVED, detail))
        self._take(unit, repository)

    def listed(self, name: str, pages: Iterator[list[Any]], scope: str = "") -> None:
        """Take all repositories of a list, which is that of *scope* if there is one."""
        taken = [] if not scope else self.found.scopes.setdefault(scope, [])
        try:
            for page in pages:
                for repository in page:
                    unit = mapping.unit(repository)
                    if self._take(unit, repository):
                        taken.append(unit)
        except NotThere as error:
            self.found.troubles.append(_not_there(name, error))

    def _take(self, unit: Unit, repository: Any) -> bool:
        """Watch the repository, unless it is excluded, archived, or has no Actions; whether it is watched."""
        if any(fnmatchcase(unit.name, glob) for glob in self._config.exclude):
            return False
        if repository.get("archived") and not self._config.archived:
            return False
        if repository.get("has_actions") is False:
            detail = "Actions are switched off"
            self.found.troubles.append(UnitTrouble(unit.name, Trouble.CI_DISABLED, detail))
            return False
        self.found.units[unit.key] = unit
        return True


def _not_there(name: str, error: NotThere) -> UnitTrouble:
    if error.status == 404:
        return UnitTrouble(name, Trouble.NOT_FOUND, "Gitea says 404: it does not exist, or is hidden")
    return UnitTrouble(name, Trouble.FORBIDDEN, _FORBIDDEN)
