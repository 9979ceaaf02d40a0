"""What the sink tells about itself: its metrics, its log lines, and what still waits, read from memory."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from exporter.clock import timestamp
from exporter.errors import ExporterError, SinkError, Stopped
from exporter.model.events import Backlog
from exporter.sinkmetrics import Delivery
from exporter.sinks.base import SinkContext

log = logging.getLogger(__name__)

_COUNT_SECONDS = 5.0
_COUNT_SHARE = 20  # of all time, at most one part in so many goes into counting
_REPEAT_SECONDS = 5.0


class Account:
    """How one run of sink *name* goes.

    A failure is warned of once, and then again only after something was delivered, or for a *definite* reason
    that was not told; one is counted at most every few seconds, since a client that tries all the time fails
    all the time.
    """

    def __init__(self, name: str, context: SinkContext) -> None:
        self._name = name
        self._context = context
        self._now = context.clock.monotonic
        self._waiting = Backlog(0, None)
        self._count_at = 0.0
        self._failing = False
        self._definite = ""
        self._repeat_at = 0.0
        self._beat_at = 0.0
        self._parcels: deque[tuple[int, AbstractContextManager[None]]] = deque()
        self._remove_buffer: Callable[[], None] = lambda: None

    def __enter__(self) -> Account:
        self._remove_buffer = self._context.work.add_buffer(lambda: self._waiting.events)
        self.count()
        return self

    def __exit__(self, *_: object) -> None:
        self._remove_buffer()
        self._end_parcels(Stopped("the sink ends"))

    # -- what waits ----------------------------------------------------------------------------

    def count(self) -> None:
        """Look at what waits, and at what never will be delivered, unless that was done a moment ago."""
        began = self._now()
        if began < self._count_at:
            return
        self._show(self._context.store.outbox.backlog(self._name))
        self._context.metrics.dead_letters(self._name, self._context.store.outbox.buried(self._name))
        took = self._now() - began  # counting many takes time
        self._count_at = began + took + max(_COUNT_SECONDS, took * _COUNT_SHARE)

    def _show(self, backlog: Backlog) -> None:
        self._waiting = backlog
        self._context.metrics.waiting(self._name, backlog)

    # -- how it goes ---------------------------------------------------------------------------

    @property
    def failing(self) -> bool:
        """Whether something failed and nothing was delivered since."""
        return self._failing

    def sent(self, position: int) -> None:
        """Events up to *position* were handed over together; how long they take is a report's duration."""
        report = self._context.work.report_log()
        report.__enter__()
        self._parcels.append((position, report))

    def ended(self, reached: int, ended: Counter[Delivery]) -> None:
        """All up to position *reached* came to their end, as *ended* says."""
        for result, events in ended.items():
            self._context.metrics.delivered(self._name, result, events)
        while self._parcels and self._parcels[0][0] <= reached:
            self._parcels.popleft()[1].__exit__(None, None, None)
        left = max(0, self._waiting.events - ended.total())
        self._show(Backlog(left, self._waiting.oldest if left else None))
        if ended[Delivery.SUCCESS]:
            self._succeed()

    def idle(self) -> None:
        """There is nothing to deliver."""
        if self._waiting.events or self._waiting.oldest:
            self._show(Backlog(0, None))
        if self._now() >= self._beat_at:
            self._beat_at = self._now() + 1.0
            self._context.metrics.succeeded(self._name, timestamp(self._context.clock.now()))

    def _succeed(self) -> None:
        if self._failing:
            log.info("sink delivers again", extra={"sink": self._name})
        self._failing, self._definite, self._repeat_at = False, "", 0.0
        self._context.metrics.succeeded(self._name, timestamp(self._context.clock.now()))

    def failed(self, reason: str, *, definite: bool = False) -> None:
        """An attempt failed, for *reason*; the events are kept.

        It is *definite* if Kafka has given the events back for it, which may take it long.
        """
        news = definite and reason != self._definite
        if self._now() < self._repeat_at and not news:
            return
        self._definite = reason if definite else self._definite
        self._repeat_at = self._now() + _REPEAT_SECONDS
        self._context.metrics.failed(self._name)
        self._context.metrics.delivered(self._name, Delivery.ERROR)
        if self._parcels:
            position, report = self._parcels.popleft()
            _fail(report, SinkError(reason))
            again = self._context.work.report_log()
            again.__enter__()
            self._parcels.appendleft((position, again))
        level = logging.DEBUG if self._failing and not news else logging.WARNING
        log.log(level, "sink cannot deliver", extra={"sink": self._name, "error": reason})
        self._failing = True

    def _end_parcels(self, error: ExporterError) -> None:
        while self._parcels:
            _fail(self._parcels.popleft()[1], error)

    def buried(self, event_id: str, reason: str) -> None:
        """An event became a dead letter."""
        log.warning(
            "event can never be delivered", extra={"sink": self._name, "event": event_id, "error": reason}
        )
        self._context.metrics.dead_letters(self._name, self._context.store.outbox.buried(self._name))


def _fail(report: AbstractContextManager[None], error: ExporterError) -> None:
    with suppress(ExporterError):
        report.__exit__(type(error), error, None)
