"""What may stand under ``collectors.gitlab``, and under other collectors that watch projects."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from collectors._ci import CiConfig
from collectors._connection import Connection as AnyConnection
from collectors._connection import NamedInstance
from collectors._hooks import HookSettings


class Group(BaseModel):
    """A group whose projects are watched."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    path: str = Field(description="path of the group")
    include_subgroups: bool = Field(default=True, description="also the projects of its subgroups")
    exclude: tuple[str, ...] = Field(default=(), description="globs of project paths to leave out")


class Connection(AnyConnection):
    """Where GitLab is, as whom to ask, and how hard: the same for all collectors of GitLab."""

    env_names: ClassVar[Mapping[str, str]] = {
        "GITLAB_BASE_URL": "url",
        "GITLAB_PRIVATE_TOKEN": "token",
        "GITLAB_PER_PAGE_PAGINATION": "per_page",
        "OPERATIONS_PER_SECOND": "operations_per_second",
    }

    url: str = Field(default="https://gitlab.com", description="GitLab's address, with or without /api/v4")
    token: SecretStr | None = Field(default=None, description="access token with scope read_api")
    per_page: int = Field(default=100, ge=1, le=100, description="entries per page of a list")

    @property
    def host_and_path(self) -> str:
        """Tells instances apart; the scheme may change without another history."""
        return super().host_and_path.removesuffix("/api/v4")


class Hooks(HookSettings):
    """What webhooks prove themselves with: the secret token, or a signature where a signing token is set."""

    secret: SecretStr | None = Field(default=None, description="secret token of the webhooks")
    signing_token: SecretStr | None = Field(
        default=None, description="signing token of the webhooks; the signature is then required"
    )
    signing_token_file: Path | None = Field(default=None, description="file with the signing token")

    @field_validator("signing_token")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _key_in(value):
            raise ValueError("must be as GitLab shows it: whsec_ and then letters, digits, + and /")
        return value

    @property
    def signing_key(self) -> bytes:
        """What signatures are made with; empty if there is none."""
        return _key_in(self.signing_token) if self.signing_token else b""


def _key_in(token: SecretStr) -> bytes:
    """The key that a signing token holds; empty if it holds none."""
    try:
        return base64.b64decode(token.get_secret_value().strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return b""


class Watched(Connection, NamedInstance):
    """Which projects to watch: the same for all collectors of GitLab that go by project."""

    projects: tuple[str, ...] = Field(default=(), description="projects by path or id")
    groups: tuple[Group, ...] = Field(default=(), description="groups whose projects are watched")
    users: tuple[str, ...] = Field(default=(), description="users whose personal projects are watched")
    all_projects: Literal["none", "member", "visible"] | None = Field(
        default=None,
        description="also every project the token is a member of, or sees; `member` if nothing else is named",
    )
    exclude: tuple[str, ...] = Field(default=(), description="globs of project paths to leave out everywhere")
    archived: bool = Field(default=False, description="also archived projects")
    hooks: Hooks = Field(default_factory=Hooks, description="what webhooks prove themselves with")

    @field_validator("projects", mode="before")
    @classmethod
    def _ids_are_names(cls, value: object) -> object:
        return [str(entry) for entry in value] if isinstance(value, (list, tuple)) else value

    @property
    def everything(self) -> Literal["none", "member", "visible"]:
        """Which projects to watch beside the named ones."""
        if self.all_projects is not None:
            return self.all_projects
        return "none" if self.projects or self.groups or self.users else "member"


class GitLabConfig(Watched, CiConfig):
    """Which projects to watch, and what of their pipelines and jobs."""

    env_enables: ClassVar[frozenset[str]] = frozenset(("GITLAB_BASE_URL", "GITLAB_PRIVATE_TOKEN"))

    child_pipelines: bool = Field(default=True, description="read child pipelines, each as a run of its own")
