"""What may stand under ``collectors.gitlab_deployments``."""

from __future__ import annotations

from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

from collectors.gitlab.settings import Watched
from exporter.contract import PolledConfig


class Environments(BaseModel):
    """Which environments get series of their own, and which share theirs; deployments to all are counted."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    include: tuple[str, ...] = Field(default=("*",), description="globs of environments to show")
    exclude: tuple[str, ...] = Field(default=(), description="globs of environments to leave out")
    grouped: tuple[str, ...] = Field(
        default=("*/*",),
        description="globs of those shown as one for each folder: `review/fix-1` and others as `review/*`",
    )
    max_environments: int = Field(
        default=100, ge=0, description="series for so many of a project at most, the oldest ones"
    )

    def label(self, name: str) -> str | None:
        """Under which name the environment *name* is shown; ``None`` if it is not."""
        if not _any(self.include, name) or _any(self.exclude, name):
            return None
        return f"{name.partition('/')[0]}/*" if self.is_grouped(name) else name

    def is_grouped(self, name: str) -> bool:
        """Whether the environment is in a folder, and shown with all others of that."""
        return "/" in name and _any(self.grouped, name)


def _any(globs: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


class DeploymentsConfig(Watched, PolledConfig):
    """Which projects to watch, and which of their environments to show."""

    poll_interval_seconds: float = Field(
        default=60, gt=0, description="wait between two polls of a busy project"
    )
    environments_interval_seconds: float = Field(
        default=300,
        gt=0,
        description="how often environments and the head of the default branch are read without any news",
    )
    environments: Environments = Field(
        default_factory=Environments, description="which environments get series of their own"
    )
    behind: bool = Field(
        default=True,
        description="compare what is deployed with the default branch; a call when one of them changes",
    )
