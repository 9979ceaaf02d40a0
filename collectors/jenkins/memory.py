"""What the polls of Jenkins remember of those before them, as long as the process lives."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime

from exporter.model.runs import RefKind


@dataclass(slots=True)
class Memory:
    """What is worth knowing from one poll to the next, but not worth storing; shared by all units.

    ``kinds`` are the sorts of refs, ``primary`` the primary branch, by unit. ``refs`` are those last told of.
    ``tries`` counts failures in a row by ``(job, number)``. ``stages`` is whether Jenkins ever told of
    stages, ``None`` while unknown. ``unsettled`` is when a build was first seen to be over, but without a
    duration. ``unlisted`` are jobs whose builds could not be listed the last time. ``rereads`` is where the
    next poll of a unit goes on asking for builds one by one. ``reached`` is, of jobs with more builds to read
    than a page has, the last one that was listed and its position then.
    """

    turn: threading.Lock = field(default_factory=threading.Lock)
    kinds: dict[str, dict[str, RefKind]] = field(default_factory=dict)
    primary: dict[str, str] = field(default_factory=dict)
    refs: dict[str, frozenset[str]] = field(default_factory=dict)
    tries: dict[tuple[str, int], int] = field(default_factory=dict)
    stages: bool | None = None
    unsettled: dict[tuple[str, int, int], datetime] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    rereads: dict[str, int] = field(default_factory=dict)
    reached: dict[str, tuple[int, int]] = field(default_factory=dict)
