"""What may stand under ``collectors.github_actions`` and ``collectors.github_runners``."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from collectors._ci import CiConfig
from collectors._connection import Connection as AnyConnection
from collectors._connection import NamedInstance
from collectors._hooks import HookSettings
from collectors._runners import FleetConfig

_PUBLIC = "https://api.github.com"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Organization(_Part):
    """An organisation whose repositories are watched."""

    name: str = Field(description="name of the organisation")
    exclude: tuple[str, ...] = Field(
        default=(), description="globs of repositories (owner/name) to leave out"
    )


class Connection(AnyConnection):
    """Where GitHub is, as whom to ask, and how hard: the same for all collectors of GitHub."""

    url: str = Field(default=_PUBLIC, description="GitHub's address, or that of an Enterprise Server")
    token: SecretStr | None = Field(default=None, description="access token that may read Actions")
    app_id: int | None = Field(
        default=None, gt=0, description="id of a GitHub App that asks in place of a token"
    )
    installation_id: int | None = Field(default=None, gt=0, description="id of the App's installation")
    private_key: SecretStr | None = Field(default=None, description="the App's private key, PEM")
    private_key_file: Path | None = Field(
        default=None, description="file with the private key, read again when it is refused"
    )
    per_page: int = Field(default=100, ge=1, le=100, description="entries per page of a list")

    @model_validator(mode="after")
    def _is_an_app_or_has_a_token(self) -> Self:
        given = (self.app_id, self.installation_id, self.private_key or self.private_key_file)
        if any(given) and not all(given):
            raise ValueError("an App needs app_id, installation_id and private_key_file")
        if self.app_id and (self.token or self.token_file):
            raise ValueError("there are a token and an App: keep one of them")
        return self

    @property
    def api_url(self) -> str:
        """The root of the REST API: below ``/api/v3`` on a server of one's own."""
        parts = urlsplit(self.url)
        host = (parts.hostname or "").lower()
        if host in ("github.com", "www.github.com", "api.github.com"):
            return _PUBLIC
        if host.endswith(".ghe.com"):
            return self.url if host.startswith("api.") else f"{parts.scheme}://api.{parts.netloc}"
        return self.url.removesuffix("/api/v3").rstrip("/") + "/api/v3"

    @property
    def host_and_path(self) -> str:
        """Tells instances apart, in whichever way the address is written."""
        parts = urlsplit(self.api_url)
        return parts.netloc.lower().removeprefix("api.") + parts.path.removesuffix("/api/v3")


class GitHubConfig(Connection, NamedInstance, CiConfig):
    """Which repositories to watch, and what of them."""

    repositories: tuple[str, ...] = Field(default=(), description="repositories by owner/name")
    organizations: tuple[Organization, ...] = Field(
        default=(), description="organisations whose repositories are watched"
    )
    users: tuple[str, ...] = Field(default=(), description="users whose repositories are watched")
    exclude: tuple[str, ...] = Field(default=(), description="globs of repositories to leave out everywhere")
    archived: bool = Field(default=False, description="also archived repositories")
    hooks: HookSettings = Field(default_factory=HookSettings, description="webhooks")

    @field_validator("repositories")
    @classmethod
    def _have_an_owner(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name.count("/") != 1 or not all(name.split("/")):
                raise ValueError(f"{name} should be written as owner/name")
        return value

    @property
    def everything(self) -> bool:
        """Whether all that the token or App sees is watched, since nothing is named."""
        return not (self.repositories or self.organizations or self.users)


class RunnersConfig(Connection, FleetConfig):
    """Whose runners to watch, and what to show of them."""

    enterprises: tuple[str, ...] = Field(default=(), description="enterprises whose own runners are watched")
    organizations: tuple[str, ...] = Field(default=(), description="organisations whose runners are watched")
    repositories: tuple[str, ...] = Field(
        default=(), description="repositories (owner/name) whose own runners are watched"
    )
    rediscover_interval_seconds: float = Field(
        default=1800, gt=0, description="how often the repositories of organisations are read anew"
    )
    max_runners: int = Field(
        default=1000, ge=0, description="runners with series of their own, those with the lowest ids"
    )
    queue: bool = Field(default=True, description="read the jobs that wait for a self-hosted runner")
    max_label_sets: int = Field(
        default=100, ge=0, description="sets of labels with series of their own; the rest is `other`"
    )

    @model_validator(mode="after")
    def _something_to_watch(self) -> Self:
        if self.enabled and not (self.enterprises or self.organizations or self.repositories):
            raise ValueError("needs `enterprises`, `organizations` or `repositories`")
        return self
