"""What a sink is: something that takes its share of the outbox to where it belongs."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import NamedTuple, Protocol

from exporter.clock import Clock
from exporter.errors import SinkError
from exporter.model.events import Event
from exporter.runnermetrics import RunnerMetrics
from exporter.sinkmetrics import SinkMetrics
from exporter.store.base import Store


class ShownValue(NamedTuple):
    """One sample, as a scrape shows it."""

    name: str
    labels: Mapping[str, str]
    value: float


class Shown(Protocol):
    """What a scrape would show now, from memory."""

    def ready(self) -> bool:
        """Whether everything has been read once since the program started."""
        ...

    def values(self, names: Collection[str]) -> list[ShownValue]:
        """The samples of the families *names*."""
        ...


class _NothingShown:
    """Implements :class:`Shown` where nothing is."""

    def ready(self) -> bool:
        return False

    def values(self, names: Collection[str]) -> list[ShownValue]:
        return []


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What the program lends a sink. ``work`` counts deliveries and undelivered rows, runner-style.

    ``zone`` is the time zone of people. ``shown`` is what a scrape would show.
    """

    store: Store
    clock: Clock
    metrics: SinkMetrics
    work: RunnerMetrics
    version: str = ""
    zone: tzinfo = UTC
    shown: Shown = field(default_factory=_NothingShown)


class Claims(Protocol):
    """Several producers of the same events agree on who of them tells which.

    Called on the sink's thread only. It must not raise: what cannot be asked is claimed, since an event that
    is told twice is better than one that nobody tells.
    """

    def claim(self, events: Sequence[Event]) -> list[bool]:
        """For each of *events* whether it is ours to tell: true again when we ask again for the same one."""
        ...

    def try_out(self) -> Iterator[str]:
        """Lines for ``check --online``, as of a sink."""
        ...

    def close(self) -> None:
        """Give back connections; what is asked afterwards is claimed."""
        ...


class Sink(ABC):
    """Takes the events of ``streams`` from the outbox, from its own position on.

    ``name`` is the position's, and the ``sink`` label's. Only one process delivers at a time: the one that
    polls. A sink that cannot deliver waits and tries again by itself, for ever; nothing waits for it.
    """

    name: str
    streams: frozenset[str]

    @abstractmethod
    def run(self, stopping: threading.Event) -> None:
        """Deliver until *stopping* is set, and return within a second of it.

        Called on a thread of its own, again and again: what it raises is logged, and it is called anew after
        a pause. An exception of ``ExporterError`` is a failure that a sentence explains.
        """

    def try_out(self) -> Iterator[str]:
        """Lines for ``check --online``: whether the receiver can be reached; network I/O.

        Raises:
            SinkError: it cannot; a line for each reason.
        """
        return iter(())

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back connections; called once, after the last :meth:`run`."""


def try_each(tries: Iterable[tuple[str, Callable[[], Iterator[str]]]]) -> Iterator[str]:
    """The lines of all *tries*, each behind what stands before it there: also after one that failed.

    Raises:
        SinkError: at the end, with a line for each that failed.
    """
    failed: list[str] = []
    for begin, one in tries:
        try:
            for line in one():
                yield f"{begin}{line}"
        except SinkError as error:
            failed += [f"{begin}{line}" for line in str(error).splitlines()]
    if failed:
        raise SinkError("\n".join(failed))
