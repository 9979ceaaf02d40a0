"""A simulated runner and the processes behind it: what it takes, and when GitLab last heard of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from collectors._standin.times import DAY, HOUR, SECOND
from collectors.gitlab.standin.records import Namespace, Project

TYPES = ("instance_type", "group_type", "project_type")
STATUSES = ("active", "paused", "online", "offline", "never_contacted", "stale")
_ONLINE = 2 * HOUR
_STALE = 7 * DAY
_CONTACT_EVERY = 3 * SECOND


def _status(created_at: int, contacted_at: int | None, now: int) -> str:
    """Source: GitLab, app/models/ci/runner.rb: stale counts from creation when there was no contact."""
    if max(created_at, contacted_at or 0) <= now - _STALE:
        return "stale"
    if contacted_at is None:
        return "never_contacted"
    return "online" if contacted_at > now - _ONLINE else "offline"


@dataclass(slots=True, eq=False)
class Manager:
    """One process that executes jobs for a runner; ``silent_since`` is ``None`` while it keeps in contact."""

    id: int
    system_id: str
    created_at: int
    version: str
    revision: str = "4d7093e1"
    platform: str = "linux"
    architecture: str = "amd64"
    silent_since: int | None = None

    @property
    def awake(self) -> bool:
        """Whether it asks for jobs."""
        return self.silent_since is None

    def contacted_at(self, now: int) -> int:
        """Its last contact; it makes one every three seconds."""
        if self.silent_since is not None:
            return self.silent_since
        return max(self.created_at, now - (now + self.id * 700) % _CONTACT_EVERY)

    def status(self, now: int) -> str:
        """What GitLab calls it."""
        return _status(self.created_at, self.contacted_at(now), now)


@dataclass(slots=True, eq=False)
class Runner:
    """A configured runner. Without ``managers`` it never made contact.

    ``group`` is ``None`` unless it is a group's, ``project_ids`` is empty unless it belongs to projects;
    ``concurrent`` is how many jobs it executes at once.
    """

    id: int
    description: str
    runner_type: str
    created_at: int
    tags: tuple[str, ...] = ()
    run_untagged: bool = True
    paused: bool = False
    locked: bool = False
    concurrent: int = 100
    group: Namespace | None = None
    project_ids: set[int] = field(default_factory=set)
    managers: list[Manager] = field(default_factory=list)

    def contacted_at(self, now: int) -> int | None:
        """The last contact of any of its processes."""
        return max((manager.contacted_at(now) for manager in self.managers), default=None)

    def status(self, now: int) -> str:
        """What GitLab calls it, paused or not."""
        return _status(self.created_at, self.contacted_at(now), now)

    def rest_status(self, now: int) -> str:
        """What REST calls it: paused hides online and offline."""
        status = self.status(now)
        return "paused" if self.paused and status in ("online", "offline") else status

    def has_status(self, wanted: str, now: int) -> bool:
        """Whether a list filtered by *wanted* holds it; who is stale is offline or never_contacted too."""
        contacted = self.contacted_at(now)
        return {
            "active": not self.paused,
            "paused": self.paused,
            "online": contacted is not None and contacted > now - _ONLINE,
            "offline": contacted is not None and contacted <= now - _ONLINE,
            "never_contacted": contacted is None,
            "stale": self.status(now) == "stale",
        }[wanted]

    @property
    def awake(self) -> list[Manager]:
        """Its processes that ask for jobs."""
        return [manager for manager in self.managers if manager.awake]

    def reaches(self, project: Project) -> bool:
        """Whether it serves *project* at all."""
        if self.runner_type == "instance_type":
            return True
        if self.group is not None:
            return f"{project.namespace.path}/".startswith(f"{self.group.path}/")
        return project.id in self.project_ids

    def takes(self, project: Project, tags: Collection[str]) -> bool:
        """Whether it would execute a job of *project* with *tags*, were it not full."""
        fits = set(tags) <= set(self.tags) if tags else self.run_untagged
        return fits and not self.paused and bool(self.awake) and self.reaches(project)
