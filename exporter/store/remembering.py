"""Answers about history that are remembered until anything changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from exporter.model.history import (
    Dora,
    History,
    JobOrder,
    JobState,
    ProjectState,
    RunPage,
    ShownRun,
    SortKey,
    Step,
    Summary,
    Wanted,
)
from exporter.model.runs import JobRun

T = TypeVar("T")
_MOST = 64  # answers; boards and pages ask some twenty questions, again and again


class RememberedHistory:
    """Implements :class:`exporter.model.history.History` by another one, asked once for each of its versions.

    Lists and single runs are not remembered: they are answered from an index as fast, and are large.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._turn = threading.Lock()
        self._answers: OrderedDict[Hashable, tuple[str, Any]] = OrderedDict()

    def version(self) -> str:
        """A text that is another one whenever any answer may be."""
        return self._history.version()

    def runs(
        self,
        wanted: Wanted,
        *,
        sort: SortKey = SortKey.CREATED_AT,
        descending: bool = True,
        limit: int = 100,
        after: str | None = None,
    ) -> RunPage:
        """At most *limit* runs behind position *after*."""
        return self._history.runs(wanted, sort=sort, descending=descending, limit=limit, after=after)

    def run(self, provider: str, project: str, run_id: int) -> tuple[ShownRun, Sequence[JobRun]] | None:
        """One run and its jobs."""
        return self._history.run(provider, project, run_id)

    def summary(self, wanted: Wanted) -> Summary:
        """All runs in numbers."""
        return self._once(("summary", wanted), lambda: self._history.summary(wanted))

    def timeseries(self, wanted: Wanted, step_seconds: int) -> Sequence[Step]:
        """Every step in order."""
        key = ("timeseries", wanted, step_seconds)
        return self._once(key, lambda: self._history.timeseries(wanted, step_seconds))

    def projects(self, wanted: Wanted) -> Sequence[ProjectState]:
        """All projects that match."""
        return self._once(("projects", wanted), lambda: self._history.projects(wanted))

    def jobs(self, wanted: Wanted, order: JobOrder, limit: int) -> Sequence[JobState]:
        """The jobs of the runs, the foremost first."""
        key = ("jobs", wanted, order, limit)
        return self._once(key, lambda: self._history.jobs(wanted, order, limit))

    def dora(self, wanted: Wanted, deployments: Sequence[str]) -> Dora:
        """How well changes are delivered."""
        key = ("dora", wanted, tuple(deployments))
        return self._once(key, lambda: self._history.dora(wanted, deployments))

    def _once(self, key: Hashable, ask: Callable[[], T]) -> T:
        # The version first: what changes while the answer is made belongs to the next one.
        version = self._history.version()
        with self._turn:
            known = self._answers.get(key)
            if known and known[0] == version:
                self._answers.move_to_end(key)
                answer: T = known[1]
                return answer
        answer = ask()
        with self._turn:
            self._answers[key] = version, answer
            self._answers.move_to_end(key)
            while len(self._answers) > _MOST:
                self._answers.popitem(last=False)
        return answer
