"""What is due: tasks that wait for a free worker, the stalest first."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One thing for a worker to do; one ``key`` is never due twice, nor run twice at a time.

    It begins with who wants it and what it is, which the log tells.
    """

    key: Key
    run: Callable[[], None]


class Agenda:
    """Due tasks, handed out by how long ago they last ran; nothing is ever dropped.

    Order by staleness means that no task starves however many are due: each one that runs becomes the
    freshest. A task that comes due while it runs is handed out again afterwards.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Task]] = []
        self._due: set[Key] = set()
        self._running: set[Key] = set()
        self._again: dict[Key, tuple[float, Task]] = {}
        self._order = count()
        self._closed = False

    def add(self, task: Task, last_run: float) -> None:
        """Note that *task* is due; *last_run* is when it last ran (any clock), lower is staler.

        -inf goes before all that has a time.
        """
        with self._changed:
            if task.key in self._running:
                self._again[task.key] = (last_run, task)
            elif task.key not in self._due:
                self._push(task, last_run)

    def _push(self, task: Task, last_run: float) -> None:
        heapq.heappush(self._heap, (last_run, next(self._order), task))
        self._due.add(task.key)
        self._changed.notify_all()  # one alone might wake somebody in `wait_idle`, and no worker

    def take(self, dismissed: Callable[[], bool] = lambda: False) -> Task | None:
        """The stalest due task, once there is one; ``None`` when the agenda is closed, or you *dismissed*."""
        with self._changed:
            while not self._heap and not self._closed and not dismissed():
                self._changed.wait()
            if self._closed or dismissed():
                return None
            task = heapq.heappop(self._heap)[2]
            self._due.discard(task.key)
            self._running.add(task.key)
            return task

    def done(self, task: Task) -> None:
        """Note that *task* is no longer running."""
        with self._changed:
            self._running.discard(task.key)
            if again := self._again.pop(task.key, None):
                self._push(again[1], again[0])
            self._changed.notify_all()

    def discard(self, matches: Callable[[Key], bool]) -> None:
        """Forget due tasks whose key *matches*; those that run now are not stopped."""
        with self._changed:
            self._heap = [entry for entry in self._heap if not matches(entry[2].key)]
            heapq.heapify(self._heap)
            self._due = {entry[2].key for entry in self._heap}
            self._again = {key: again for key, again in self._again.items() if not matches(key)}

    def wait_idle(self, matches: Callable[[Key], bool], timeout: float) -> bool:
        """Wait until no task whose key *matches* runs; false if some still did after *timeout* seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not any(map(matches, self._running)), timeout)

    def look_up(self) -> None:
        """Let everyone who waits ask again whether they are dismissed."""
        with self._changed:
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nothing more is handed out."""
        return self._closed

    def close(self) -> None:
        """Hand out nothing more, and wake everyone who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """How many tasks are due and not yet running."""
        return len(self._heap)
