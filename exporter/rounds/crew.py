"""A crew: worker threads on an agenda of their own."""

from __future__ import annotations

import logging
import threading

from exporter.errors import StoreError
from exporter.rounds.agenda import Agenda

log = logging.getLogger(__name__)


class Crew:
    """Threads that run what is due on one agenda, until it is closed; they start with :meth:`grow`."""

    def __init__(self, name: str) -> None:
        self.agenda = Agenda()
        self._name = name
        self._workers = 0

    def grow(self, workers: int) -> None:
        """Have at least *workers* threads."""
        while self._workers < workers:
            threading.Thread(target=self._work, name=f"{self._name}-{self._workers}", daemon=True).start()
            self._workers += 1

    def _work(self) -> None:
        """What a worker does: take the stalest due task and run it."""
        while task := self.agenda.take():
            try:
                task.run()
            except StoreError as error:
                log.error("store failed", extra={"task": ":".join(task.key), "error": str(error)})  # noqa: TRY400
            except Exception:
                # A worker that died would silently take a share of the capacity with it.
                log.exception("task failed", extra={"task": ":".join(task.key)})
            finally:
                self.agenda.done(task)
