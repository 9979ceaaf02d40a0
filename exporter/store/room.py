"""The room in the queue of hooks: how much of it is taken, and which hooks there is still room for."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from exporter.store.inbox import Arrived, Queued

_PART_FOR_ALL = 2  # one in so many places is for whoever comes first


class Room(NamedTuple):
    """How many hooks may wait to be read, and how many bytes; or how many do."""

    hooks: int
    size: int


_NOTHING = Room(0, 0)


class Filling:
    """What is taken of *room*, as far as this process knows; others add as well. Any thread may call.

    Half of the room is for whoever comes first. Of the other half, each collector has its share for itself,
    so that a flood of hooks for one is no reason to refuse those for another.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._turn = threading.Lock()
        self._queued: dict[str, Room] = {}
        self._added: dict[str, Room] = {}  # since the queue was measured

    def counted(self) -> Mapping[str, Room]:
        """What was added until now; for `measured`, once the queue is measured."""
        with self._turn:
            return dict(self._added)

    def measured(self, queued: Mapping[str, Queued], counted: Mapping[str, Room]) -> None:
        """Go on from *queued*, which has all of *counted* in it."""
        with self._turn:
            # What was added meanwhile may be counted twice until the next time, but never not at all.
            for name, before in counted.items():
                self._added[name] = _sum(self._added[name], before, -1)
            self._queued = {name: Room(one.hooks, one.size) for name, one in queued.items()}

    def add(self, arrived: Iterable[Arrived]) -> None:
        """Note that *arrived* are in the queue."""
        with self._turn:
            for one in arrived:
                self._added[one.collector] = _with(self._added, one)

    def fits(self, arrived: Sequence[Arrived], collectors: Collection[str]) -> list[bool]:
        """Which of *arrived* there is room for, one after the other; *collectors* are those with shares."""
        with self._turn:
            taken = {
                name: _sum(self._queued.get(name, _NOTHING), self._added.get(name, _NOTHING))
                for name in {*collectors, *self._queued, *self._added}
            }
        parts = _PART_FOR_ALL * max(1, len(collectors))
        share = Room(self._room.hooks // parts, self._room.size // parts)
        fits = []
        for one in arrived:
            # What is too large for a share is taken all the same if nothing of its collector waits.
            alone = taken.get(one.collector, _NOTHING) == _NOTHING
            after = taken | {one.collector: _with(taken, one)}
            kept_free = {} if alone else dict.fromkeys(set(collectors) - {one.collector}, share)
            fits.append(_holds(self._room, after, kept_free))
            if fits[-1]:
                taken = after
        return fits


def _holds(room: Room, taken: Mapping[str, Room], kept_free: Mapping[str, Room]) -> bool:
    """Whether *room* is enough for what is *taken*, and what is *kept_free* for those who have less."""
    least = ((one, kept_free.get(name, _NOTHING)) for name, one in taken.items())
    needed = [(max(one.hooks, free.hooks), max(one.size, free.size)) for one, free in least]
    return sum(hooks for hooks, _ in needed) <= room.hooks and sum(size for _, size in needed) <= room.size


def _with(taken: Mapping[str, Room], arrived: Arrived) -> Room:
    return _sum(taken.get(arrived.collector, _NOTHING), Room(1, arrived.size))


def _sum(one: Room, other: Room, sign: int = 1) -> Room:
    return Room(one.hooks + sign * other.hooks, one.size + sign * other.size)
