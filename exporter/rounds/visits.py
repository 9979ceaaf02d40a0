"""How the polling of one unit stands, how a poll of it ended, and what a hook asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.contract import UnitTrouble
from exporter.errors import ExporterError
from exporter.rounds.backoff import Backoff
from exporter.rounds.hooking import Hooking
from exporter.runnermetrics import FetchResult
from exporter.store.base import StoredUnit

_LONGEST_RETRY_AFTER = 86_400.0  # a source that asks for more has a broken clock


@dataclass(slots=True)
class UnitState:
    """How the polling of one unit stands; ``last_polled`` is monotonic, -1 before the first.

    ``wait`` is how long it waits for the next poll, before jitter; ``error`` is what the last poll failed
    with, empty if it did not.
    """

    stored: StoredUnit
    backoff: Backoff
    last_polled: float = -1.0
    wait: float = 0.0
    visited: bool = False
    error: str = ""
    trouble: UnitTrouble | None = None
    hooking: Hooking = field(default_factory=Hooking)


@dataclass(frozen=True, slots=True)
class Visit:
    """How one poll ended, and when to come back: the wait in seconds before jitter.

    ``exactly`` is a wait that beats the others, and is not to be jittered.
    """

    result: FetchResult
    wait: float
    at_least: float = 0.0
    exactly: float | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """What is to be done once a hook is saved.

    ``wakes`` asks for a poll: the hook said no more, or its unit was just adopted. ``unit_id`` is to
    be shown anew, if it is not ``None``.
    """

    wakes: bool
    unit_id: int | None = None


def asked_wait(error: ExporterError) -> float:
    """How many seconds the source asked us to stay away, 0 if it did not."""
    return min(getattr(error, "retry_after", None) or 0.0, _LONGEST_RETRY_AFTER)
