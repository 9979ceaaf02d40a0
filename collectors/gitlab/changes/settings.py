"""What may stand under ``collectors.gitlab_changes``."""

from __future__ import annotations

from fnmatch import fnmatchcase

from pydantic import Field

from collectors.gitlab.settings import Watched
from exporter.contract import PolledConfig


class ChangesConfig(Watched, PolledConfig):
    """Whose merge requests to watch, and what of them."""

    poll_interval_seconds: float = Field(
        default=60, gt=0, description="wait between two polls of a busy project"
    )
    reviews: bool = Field(
        default=True,
        description="read the first review and approval; a call per changed merge request until it has both",
    )
    ignored_users: tuple[str, ...] = Field(
        default=("project_*_bot*", "group_*_bot*"),
        description="globs of user names whose comments and approvals are no review",
    )

    def is_ignored(self, username: str) -> bool:
        """Whether what the user says is no review."""
        return any(fnmatchcase(username, glob) for glob in self.ignored_users)
