"""What may stand under ``collectors.gitea`` and ``collectors.gitea_runners``."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from collectors._ci import CiConfig
from collectors._connection import Connection as AnyConnection
from collectors._hooks import HookSettings
from collectors._runners import FleetConfig


class Connection(AnyConnection):
    """Where Gitea is, as whom to ask, and how hard: the same for all collectors of Gitea."""

    url: str = Field(
        default="https://gitea.com", description="address of Gitea or Forgejo, with or without /api/v1"
    )
    token: SecretStr | None = Field(
        default=None,
        description="access token with read:repository; read:organization and read:user for those",
    )
    per_page: int = Field(default=50, ge=1, le=100, description="entries per page of a list")

    @property
    def host_and_path(self) -> str:
        """Tells instances apart; the scheme may change without another history."""
        return super().host_and_path.removesuffix("/api/v1")


class _Named(BaseModel):
    """Names in lists, written with or without slashes around them, as numbers too."""

    @field_validator("organizations", "repositories", "users", mode="before", check_fields=False)
    @classmethod
    def _names_are_strings(cls, value: object) -> object:
        return [str(entry).strip("/") for entry in value] if isinstance(value, (list, tuple)) else value

    @field_validator("repositories", check_fields=False)
    @classmethod
    def _with_owner(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(name.count("/") != 1 for name in value):
            raise ValueError("each must be written as owner/name")
        return value


class GiteaConfig(_Named, Connection, CiConfig):
    """Which repositories to watch, and what of them; without any named, those that the token's user has."""

    instance_name: str | None = Field(
        default=None, description="name under which history is kept; set it to the old host when Gitea moves"
    )
    instance: bool = Field(
        default=False, description="all repositories there are; the token must be a site administrator's"
    )
    organizations: tuple[str, ...] = Field(default=(), description="organisations, by name")
    users: tuple[str, ...] = Field(default=(), description="users whose own repositories are watched")
    repositories: tuple[str, ...] = Field(default=(), description="repositories, as owner/name")
    exclude: tuple[str, ...] = Field(default=(), description="globs of owner/name to leave out everywhere")
    archived: bool = Field(default=False, description="also archived repositories")
    hooks: HookSettings = Field(default_factory=HookSettings, description="webhooks that Gitea sends")

    @property
    def history_name(self) -> str:
        """Under which name the history of the instance is kept: the given one outlives a move."""
        return self.instance_name or super().history_name

    @property
    def everything(self) -> bool:
        """Whether nothing is named, so that all is watched that the token's user has."""
        return not (self.instance or self.organizations or self.users or self.repositories)


class RunnersConfig(_Named, Connection, FleetConfig):
    """Whose runners to watch, and what to show of them."""

    instance: bool = Field(
        default=False, description="all runners there are; the token must be a site administrator's"
    )
    organizations: tuple[str, ...] = Field(
        default=(), description="organisations whose own runners are watched"
    )
    repositories: tuple[str, ...] = Field(
        default=(), description="repositories whose own runners are watched, as owner/name"
    )
    max_runners: int = Field(
        default=1000, ge=0, description="series of their own for so many runners, those with the lowest ids"
    )
    queue: bool = Field(default=True, description="read the jobs that wait for a runner")
    max_label_sets: int = Field(
        default=100, ge=0, description="sets of labels with series of their own; the rest is `other`"
    )

    @model_validator(mode="after")
    def _something_to_watch(self) -> Self:
        if self.enabled and not (self.instance or self.organizations or self.repositories):
            raise ValueError("needs `instance: true`, `organizations` or `repositories`")
        return self
