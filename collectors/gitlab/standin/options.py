"""How a simulated GitLab is set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Options:
    """What the world is made of and how it moves.

    ``speed`` is simulated seconds per real second; at 0 time stands until it is advanced, and above 1
    it leaves the real time behind. ``start`` is milliseconds since 1970, ``None`` for the real time;
    things happen from ``warm_up`` seconds before it. ``history_pipelines`` is ``None`` when it follows
    from ``history_days`` and ``pipelines_per_hour``. ``rate_limit`` is requests per minute.

    ``runners`` is how many there are, and they take jobs by GitLab's rules; ``None`` for four that take
    every job at once, whatever its tags and project. ``admin`` is whether the token is an administrator's.
    ``users`` of whom only the first six ever do anything by themselves.
    ``graphql_missing`` names what an older GitLab has not: ``Type.field`` or ``Type.field.argument``.
    """

    seed: int = 1
    projects: int = 10
    users: int = 6
    group: str = "acme"
    start: int | None = None
    warm_up: float = 0.0
    speed: float = 0.0
    history_days: float = 0.0
    history_pipelines: int | None = None
    runners: int | None = None
    pipelines_per_hour: float = 0.0
    changes_per_hour: float = 0.0
    stories: Mapping[str, float] = field(default_factory=dict)
    offset: str = "Z"
    token: str = "standin-token"  # noqa: S105
    admin: bool = False
    no_graphql: bool = False
    graphql_missing: tuple[str, ...] = ()
    rate_limit: int = 0
    rate_headers: bool = False
    latency_ms: int = 0
    version: str = "18.5.0"
