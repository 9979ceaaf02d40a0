"""The crews that poll: one of its own for each collector, and one more for each lane that it asks for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from exporter.rounds.agenda import Agenda
from exporter.rounds.crew import Crew
from exporter.rounds.round import CollectorRounds

log = logging.getLogger(__name__)

_OWN = ""  # the lane of units that have none


class Crews:
    """``(collector, lane) -> crew``, made when it is first asked for; thread-safe.

    No crew has a worker in common with another. So a source that takes calls and never answers holds up its
    own collector, however many units that has, and no other.
    """

    def __init__(self, capacity: int, stopping: threading.Event) -> None:
        self._capacity = capacity
        self._stopping = stopping
        self._crews: dict[tuple[str, str], Crew] = {}
        self._turn = threading.Lock()

    def agenda_of(self, rounds: CollectorRounds, lane: str = _OWN) -> Agenda:
        """Where what is due waits for a worker of its crew, which is as large as it is to be from now on."""
        with self._turn:
            crew = self._crews.get((rounds.name, lane))
            if crew is None:
                name = f"{rounds.name}-{lane}" if lane else f"poll-{rounds.name}"
                crew = self._crews[rounds.name, lane] = Crew(name)
            if self._stopping.is_set():
                crew.agenda.close()
            else:
                crew.resize(self._lane_workers(rounds, lane) if lane else self._own_workers(rounds))
        return crew.agenda

    def _own_workers(self, rounds: CollectorRounds) -> int:
        """How many workers a collector has apart from its lanes; one at least, which discovers."""
        return 1 if rounds.all_in_lanes else self._capacity

    def _lane_workers(self, rounds: CollectorRounds, lane: str) -> int:
        """How many workers a lane has; one at least, or its units would never be polled."""
        try:
            return max(1, rounds.collector.lane_capacity(lane))
        except Exception:
            log.exception("lane capacity could not be told", extra={"collector": rounds.name, "lane": lane})
            return 1

    def workers(self, rounds: Iterable[CollectorRounds]) -> int:
        """How many polls of *rounds* can run at once, also while another process polls."""
        own = sum(map(self._own_workers, rounds))
        lanes = sum(crew.size for (_, lane), crew in list(self._crews.items()) if lane)
        return own + lanes

    def waiting(self, collector: str) -> int:
        """How much is due of *collector* and waits for a worker."""
        return sum(len(crew.agenda) for (name, _), crew in list(self._crews.items()) if name == collector)

    def dismiss(self) -> None:
        """Let all workers go that have nothing in hand, until something is due."""
        for crew in list(self._crews.values()):
            crew.resize(0)

    def relieve(self, collector: str) -> None:
        """Have nothing that is due of *collector* wait for what its workers have in hand."""
        for (name, _), crew in list(self._crews.items()):
            if name == collector:
                crew.relieve()

    def agendas(self) -> list[Agenda]:
        """Those of all crews that there are."""
        return [crew.agenda for crew in list(self._crews.values())]
