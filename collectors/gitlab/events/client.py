"""The calls about events: lists of who was active, and what happened where."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

from collectors._http import Answer
from collectors.gitlab.client import GitLabClient, boolean, iso, without_archived


class EventsClient(GitLabClient):
    """The client of GitLab with what concerns events."""

    def active_projects(self, since: datetime, *, member: bool, archived: bool) -> Iterator[list[Any]]:
        """Pages of the projects that were active after *since*, the latest first."""
        return self._pages(
            "projects",
            "active_projects",
            last_activity_after=iso(since),
            membership=boolean(member),
            **_LATEST_FIRST,
            **without_archived(archived),
        )

    def latest_group_projects(self, group: str, *, subgroups: bool, archived: bool) -> Iterator[list[Any]]:
        """Pages of the projects of a group, the latest active first."""
        return self._pages(
            f"groups/{quote(group, safe='')}/projects",
            "active_group_projects",
            include_subgroups=boolean(subgroups),
            with_shared="false",
            **_LATEST_FIRST,
            **without_archived(archived),
        )

    def all_users(self) -> Iterator[list[Any]]:
        """Pages of every user, the oldest first; administrators see when each was last active."""
        return self._pages("users", "users", order_by="id", sort="asc")

    def newest_users(self) -> Iterator[list[Any]]:
        """Pages of every user, the newest first, which is how others than administrators get it anyway."""
        return self._pages("users", "newest_users", order_by="id", sort="desc")

    def active_users(self, since: date) -> Iterator[list[Any]]:
        """Pages of the names of users who were active on *since* or later; for administrators."""
        return self._pages("user/activities", "active_users", **{"from": since.isoformat()})

    def user(self, name: str) -> Any | None:
        """One user by id or name; ``None`` if there is none."""
        if name.isdigit():
            return self._get(f"users/{name}", "user")
        found = self._get("users", "user_by_name", username=name)
        return found[0] if isinstance(found, list) and found else None

    def events(self, owner: str, after: date, page: int) -> Iterator[Answer]:
        """Pages of what happened after day *after*, by id, from *page* on; *owner* is ``projects/7``, say."""
        operation = f"{owner.partition('/')[0].removesuffix('s')}_events"
        return self._answers(f"{owner}/events", operation, after=after.isoformat(), sort="asc", page=page)


_LATEST_FIRST = {"order_by": "last_activity_at", "sort": "desc", "simple": "true"}
