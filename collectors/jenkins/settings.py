"""What may stand under ``collectors.jenkins`` and ``collectors.jenkins_nodes``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from collectors._ci import CiConfig
from collectors._connection import Connection as AnyConnection
from collectors._connection import NamedInstance
from collectors._credentials import Credentials, UserCredentials
from collectors._hooks import HookSettings
from collectors._runners import FleetConfig


class Connection(AnyConnection):
    """Where Jenkins is, as whom to ask, and how hard: the same for both collectors of Jenkins."""

    url: str = Field(
        default="http://localhost:8080", description="Jenkins' address, with its prefix if it has one"
    )
    user: str = Field(default="", description="whom the API token belongs to; empty asks as anonymous")
    token: SecretStr | None = Field(default=None, description="API token of that user")

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        given = bool(self.token and self.token.get_secret_value()) or self.token_file is not None
        if given and not self.user:
            raise ValueError("a token needs the `user` to whom it belongs")
        if self.user and not given and self.enabled:
            raise ValueError("the `user` needs a token: set token or token_file")
        return self

    def user_credentials(self) -> Credentials:
        """The user's token in place of a password; nothing at all without a user."""
        token = self.token.get_secret_value() if self.token else ""
        return UserCredentials(self.user, token, self.token_file) if self.user else Credentials()


class JenkinsConfig(Connection, NamedInstance, CiConfig):
    """Which jobs to watch, and what of them."""

    folders: tuple[str, ...] = Field(
        default=(), description="folders to watch, by full name; with none, everything the user sees"
    )
    include: tuple[str, ...] = Field(default=("*",), description="globs of full names of jobs to watch")
    exclude: tuple[str, ...] = Field(default=(), description="globs of full names of jobs to leave out")
    depth: int = Field(default=5, ge=1, le=10, description="levels of folders that are looked into")
    unstable: Literal["failed", "success"] = Field(
        default="failed", description="what an UNSTABLE build or stage counts as"
    )
    rediscover_interval_seconds: float = Field(
        default=300, gt=0, description="how often new and vanished jobs are noticed; it costs no further call"
    )
    hooks: HookSettings = Field(default_factory=HookSettings, description="what hooks prove themselves with")

    @field_validator("folders")
    @classmethod
    def _without_slashes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.strip("/") for name in value)

    def selects(self, full_name: str) -> bool:
        """Whether the job of that full name is to be watched."""
        return any(fnmatchcase(full_name, glob) for glob in self.include) and not any(
            fnmatchcase(full_name, glob) for glob in self.exclude
        )


class NodesConfig(Connection, FleetConfig):
    """Whether the nodes are shown one by one, and the queue."""

    max_nodes: int = Field(default=1000, ge=0, description="series for so many nodes at most")
    max_labels: int = Field(
        default=100, ge=0, description="labels in the queue with series of their own; the rest is `other`"
    )
