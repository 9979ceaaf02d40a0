"""Which repositories to watch: those named, those of organisations and users, or all that we may see."""

from __future__ import annotations

from typing import Any, ClassVar

from collectors import _discovery
from collectors.github import mapping
from collectors.github.client import GitHubClient
from collectors.github.settings import GitHubConfig
from exporter.contract import Discovery, Trouble, Unit, UnitTrouble


class Discoverer(_discovery.Discoverer):
    """Collects one discovery of repositories."""

    source: ClassVar[str] = "GitHub"
    forbidden: ClassVar[str] = "this token or App may not read it"

    def __init__(self, client: GitHubClient, config: GitHubConfig) -> None:
        super().__init__(mapping.unit, config.exclude)
        self._client = client
        self._config = config

    def run(self) -> Discovery:
        """Ask for everything that the configuration names; any other failure than 403 or 404 is raised."""
        config, client = self._config, self._client
        for name in config.repositories:
            self._named(name, client.repository)
        for organization in config.organizations:
            pages = client.organization_repositories(organization.name)
            self._listed(organization.name, pages, organization.exclude)
        for user in config.users:
            self._listed(user, client.user_repositories(user))
        if config.everything:
            pages = client.installation_repositories() if config.app_id else client.own_repositories()
            self._listed("all repositories", pages)
        return self.discovery

    def _take(self, unit: Unit, given: Any, *, named: bool) -> bool:
        """Watch the repository, unless it is switched off, or archived and not named."""
        if unit.key in self._units:
            return False
        if given.get("disabled"):
            detail = "GitHub has switched the repository off"
            self._troubles.append(UnitTrouble(unit.name, Trouble.CI_DISABLED, detail))
            return False
        if given.get("archived") and not (named or self._config.archived):
            return False
        self._units[unit.key] = unit
        return True
