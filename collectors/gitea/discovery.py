"""Which repositories to watch: those named, those of organisations and users, or all there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from collectors import _discovery
from collectors.gitea import mapping
from collectors.gitea.client import INSTANCE_SCOPE, GiteaClient, organization_scope
from collectors.gitea.settings import GiteaConfig
from exporter.contract import Discovery, Trouble, Unit, UnitTrouble


@dataclass(frozen=True, slots=True)
class Found:
    """What the engine is told, and which repositories are of a scope with one list for all of its runs."""

    discovery: Discovery
    scopes: dict[str, list[Unit]]


class Discoverer(_discovery.Discoverer):
    """Collects one discovery of repositories."""

    source: ClassVar[str] = "Gitea"
    forbidden: ClassVar[str] = (
        "the token lacks a scope for it (read:user, read:organization?), or its user a right"
    )

    def __init__(self, client: GiteaClient, config: GiteaConfig) -> None:
        super().__init__(mapping.unit, config.exclude)
        self._client = client
        self._config = config
        self._scopes: dict[str, list[Unit]] = {}

    def run(self) -> Found:
        """Ask for everything that the configuration names; any other failure than 403 or 404 is raised."""
        config, client = self._config, self._client
        if config.instance:
            self._of_scope(INSTANCE_SCOPE, "all repositories", client.all_repositories())
        for name in config.organizations:
            self._of_scope(organization_scope(name), name, client.organization_repositories(name))
        for name in config.users:
            self._listed(name, client.user_repositories(name))
        for name in config.repositories:
            self._named(name, client.repository)
        if config.everything:
            self._listed("repositories of the token's user", client.own_repositories())
        return Found(self.discovery, self._scopes)

    def _of_scope(self, scope: str, name: str, pages: Iterable[list[Any]]) -> None:
        """Take all repositories of a list, which is that of *scope*."""
        self._scopes.setdefault(scope, []).extend(self._listed(name, pages))

    def _take(self, unit: Unit, given: Any, *, named: bool) -> bool:
        """Watch the repository, unless it is archived, or has no Actions."""
        if given.get("archived") and not self._config.archived:
            return False
        if given.get("has_actions") is False:
            detail = "Actions are switched off"
            self._troubles.append(UnitTrouble(unit.name, Trouble.CI_DISABLED, detail))
            return False
        self._units[unit.key] = unit
        return True
