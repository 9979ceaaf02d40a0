"""What a source pushes instead of being polled: the part of the contract that concerns webhooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol, runtime_checkable

from exporter.contract import Batch, Unit
from exporter.errors import ExporterError


@dataclass(frozen=True, slots=True)
class Hook:
    """One request that a source sent us; the names of *headers* are lower case, *body* is as it came."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class HookNews:
    """What a hook says of one unit.

    ``batch`` is saved as that of a poll is, except that it moves no cursor. Without a ``batch`` the hook
    says only that there is news: the unit is polled at once. A unit that was not discovered is ignored,
    unless the collector `adopts` units.
    """

    unit: Unit
    batch: Batch | None = None


class NotUnderstood(ExporterError):
    """A hook that is authentic, and says nothing that we could use; counted, and answered like any other."""


@runtime_checkable
class AcceptsHooks(Protocol):
    """A collector that can be told by its source what happened.

    ``hook_name`` is the last part of the path ``/hooks/…``. ``adopts`` says that there is nothing to
    discover: a unit is there from the first hook that speaks of it.
    """

    hook_name: ClassVar[str]
    adopts: ClassVar[bool]

    def accepts_hooks(self) -> bool:
        """Whether the operator configured what hooks are to prove themselves with."""
        ...

    def hook_is_authentic(self, hook: Hook) -> bool:
        """Whether *hook* comes from the source; in constant time, from memory, on the thread of a server."""
        ...

    def hook_id(self, hook: Hook) -> str:
        """What a repetition of *hook* has in common with it; empty if only its body tells."""
        ...

    def read_hook(self, hook: Hook) -> Iterable[HookNews]:
        """What an authentic *hook* says; no network I/O.

        Raises:
            NotUnderstood: nothing; also for a body of another shape.
        """
        ...
