"""What may stand under ``collectors.gitlab_runners``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from collectors._runners import FleetConfig
from collectors.gitlab.settings import Connection


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PerRunner(_Part):
    """Which runners get series of their own; all of them are counted."""

    enabled: bool = Field(default=True, description="whether runners get series of their own")
    max_runners: int = Field(
        default=1000, ge=0, description="series for so many at most, those with the lowest ids"
    )
    include: tuple[str, ...] = Field(default=("*",), description="globs of descriptions to show")
    exclude: tuple[str, ...] = Field(default=(), description="globs of descriptions to leave out")

    def selects(self, description: str) -> bool:
        """Whether a runner with that description gets series of its own, if there is room."""
        return (
            self.enabled
            and any(fnmatchcase(description, glob) for glob in self.include)
            and not any(fnmatchcase(description, glob) for glob in self.exclude)
        )


class Queue(_Part):
    """Whether the jobs that wait are read, and how they are told apart."""

    enabled: bool = Field(default=True, description="read the jobs that wait for a runner")
    max_tag_sets: int = Field(
        default=100, ge=0, description="sets of tags with series of their own; the rest is `other`"
    )


class RunnersConfig(Connection, FleetConfig):
    """Whose runners to watch, and what to show of them."""

    instance: bool = Field(default=False, description="all runners; the token must be an administrator's")
    groups: tuple[str, ...] = Field(default=(), description="groups whose runners are watched, by path")
    projects: tuple[str, ...] = Field(
        default=(), description="projects whose runners are watched, by path or id"
    )
    rediscover_interval_seconds: float = Field(
        default=1800,
        gt=0,
        description="how often the projects of groups are read anew, and GraphQL tried again",
    )
    graphql: Literal["auto", "never"] = Field(
        default="auto", description="`auto` asks GraphQL, a call per 100 runners, and REST where that fails"
    )
    per_runner: PerRunner = Field(default_factory=PerRunner, description="series of single runners")
    queue: Queue = Field(default_factory=Queue, description="jobs that wait for a runner")

    @field_validator("groups", "projects", mode="before")
    @classmethod
    def _ids_are_names(cls, value: object) -> object:
        return [str(entry).strip("/") for entry in value] if isinstance(value, (list, tuple)) else value

    @model_validator(mode="after")
    def _something_to_watch(self) -> Self:
        if self.enabled and not (self.instance or self.groups or self.projects):
            raise ValueError("needs `instance: true`, `groups` or `projects`")
        return self
