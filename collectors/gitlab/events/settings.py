"""What may stand under ``collectors.gitlab_events``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from collectors.gitlab.settings import Connection, Group
from exporter.contract import PolledConfig

_EVERYBODYS = "gitlab.com"  # what its tokens see is the whole world


class EventsConfig(Connection, PolledConfig):
    """Whose events to read."""

    env_names: ClassVar[Mapping[str, str]] = {**Connection.env_names, "CACHE_TTL": "cache_ttl_minutes"}
    env_enables: ClassVar[frozenset[str | tuple[str, ...]]] = frozenset(
        (("GITLAB_BASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC"),)
    )

    instance: str | None = Field(
        default=None,
        description="name of the instance in the ids of events; set it to the old host when GitLab moves",
    )
    projects: tuple[str, ...] = Field(default=(), description="projects by path or id")
    groups: tuple[Group, ...] = Field(default=(), description="groups whose projects are read")
    all_projects: Literal["none", "member", "visible"] | None = Field(
        default=None,
        description="also every project the token is a member of, or sees; if nothing else is named"
        " `visible`, on gitlab.com `member`",
    )
    exclude: tuple[str, ...] = Field(default=(), description="globs of paths to leave out")
    archived: bool = Field(default=False, description="also archived projects")
    users: tuple[str, ...] = Field(
        default=(), description="users by name or id whose events are read wherever they happen"
    )
    all_users: bool | None = Field(
        default=None,
        description="the same for every user; true if neither projects, groups nor users are named, unless on"
        " gitlab.com",
    )
    rediscover_interval_seconds: float = Field(
        default=1800,
        gt=0,
        description="how often whole lists are read, and also the events of those that the lists call idle",
    )
    backfill_days: int = Field(
        default=0, ge=0, le=1095, description="days before today whose events are told as well at first"
    )
    cache_ttl_minutes: float = Field(
        default=5760,
        gt=0,
        le=1_000_000,
        description="how long the ids of told events are remembered; never less than 4 days, which is what"
        " reading by day needs",
    )

    @field_validator("projects", "users", mode="before")
    @classmethod
    def _ids_are_names(cls, value: object) -> object:
        return [str(entry) for entry in value] if isinstance(value, (list, tuple)) else value

    @property
    def history_name(self) -> str:
        """Under which name the history of the instance is kept: the given one outlives a move."""
        return self.instance or super().history_name

    @property
    def _named(self) -> bool:
        return bool(self.projects or self.groups or self.users)

    @property
    def _is_everybodys(self) -> bool:
        return urlsplit(self.url).hostname == _EVERYBODYS

    @property
    def everything(self) -> Literal["none", "member", "visible"]:
        """Which projects to read beside the named ones."""
        if self.all_projects is not None:
            return self.all_projects
        if self._named:
            return "none"
        return "member" if self._is_everybodys else "visible"

    @property
    def everybody(self) -> bool:
        """Whether the events of all users are read."""
        if self.all_users is not None:
            return self.all_users
        return not self._named and not self._is_everybodys
