"""A crew: worker threads on an agenda of their own."""

from __future__ import annotations

import logging
import threading

from exporter.errors import StoreError
from exporter.rounds.agenda import Agenda, Task

log = logging.getLogger(__name__)


class Crew:
    """Threads that run what is due on one agenda, until it is closed; :meth:`resize` says how many."""

    def __init__(self, name: str) -> None:
        self.agenda = Agenda()
        self._name = name
        self._turn = threading.Lock()
        self._workers: dict[int, object] = {}  # by number: what its thread knows itself by
        self._wanted = 0

    @property
    def size(self) -> int:
        """How many threads it is to have."""
        return self._wanted

    def resize(self, workers: int) -> None:
        """Have *workers* threads from now on; surplus ones leave when they have nothing in hand."""
        with self._turn:
            shrinks, self._wanted = workers < self._wanted, workers
            for number in sorted(set(range(workers)) - self._workers.keys()):
                if not self._hire(number):
                    break
        if shrinks:
            self.agenda.look_up()

    def _hire(self, number: int) -> bool:
        """Start a worker; false if the system has no thread for it, so that the next call is to try again."""
        self._workers[number] = badge = object()
        name = f"{self._name}-{number}"
        try:
            threading.Thread(target=self._work, args=(number, badge), name=name, daemon=True).start()
        except RuntimeError as error:
            del self._workers[number]
            log.error(  # noqa: TRY400 - the line says it all
                "a worker could not be started: raise the limit of threads, or lower engine.capacity",
                extra={"worker": name, "error": str(error)},
            )
            return False
        return True

    def relieve(self) -> None:
        """Let every worker go, those that have something in hand after it; :meth:`resize` waits for none."""
        with self._turn:
            self._workers = {}
        self.agenda.look_up()

    def _work(self, number: int, badge: object) -> None:
        """What a worker does: take the stalest due task and run it."""
        while True:
            task = self.agenda.take(lambda: number >= self._wanted or self._workers.get(number) is not badge)
            if task:
                self._run(task)
            elif self._leaves(number, badge):
                return

    def _leaves(self, number: int, badge: object) -> bool:
        """Let a worker without a task go, unless it is wanted again by now."""
        with self._turn:
            if self._workers.get(number) is not badge:
                return True
            if number < self._wanted and not self.agenda.closed:
                return False
            del self._workers[number]
            return True

    def _run(self, task: Task) -> None:
        try:
            task.run()
        except StoreError as error:
            log.error("store failed", extra={"task": ":".join(task.key[:2]), "error": str(error)})  # noqa: TRY400
        except Exception:
            # A worker that died would silently take a share of the capacity with it.
            log.exception("task failed", extra={"task": ":".join(task.key[:2])})
        finally:
            self.agenda.done(task)
