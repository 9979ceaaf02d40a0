"""The intake: many hooks at once go into the inbox with one commit, and each sender learns how that ended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from exporter.clock import Clock
from exporter.errors import StoreError
from exporter.hookmetrics import HookMetrics
from exporter.store.inbox import Arrived, Inbox, Queued
from exporter.store.room import Filling, Room

log = logging.getLogger(__name__)

_AT_ONCE = 500
_PENDING = 2_000  # that may wait for a commit; a database that hangs must not fill the memory
_PENDING_BYTES = 128 * 1024 * 1024
_LOOK_SECONDS = 1.0
_TIDY_SECONDS = 2.0  # more rarely, it would have more to move, and take longer at once
_FORGET_SECONDS = 600.0
_UNREAD = timedelta(days=1)


class Outcome(Enum):
    """How the attempt to keep a hook ended."""

    KEPT = "kept"
    KNOWN = "known"
    NO_ROOM = "no room"
    NOT_KEPT = "not kept"


@dataclass(frozen=True, slots=True)
class _Pending:
    arrived: Arrived
    done: Callable[[Outcome], None]


class Intake:
    """Puts hooks into *inbox* on a thread of its own; another one measures the queue and keeps it small.

    ``collectors`` gives the names of those that read hooks, as they are configured now. Where another process
    does so as well, only one of them *tidies*, and better not the one that acknowledges.
    """

    def __init__(
        self,
        inbox: Inbox,
        room: Room,
        metrics: HookMetrics,
        clock: Clock,
        collectors: Callable[[], Collection[str]],
        *,
        tidies: bool = True,
    ) -> None:
        self._inbox = inbox
        self._filling = Filling(room)
        self._metrics = metrics
        self._clock = clock
        self._collectors = collectors
        self._tidies = tidies
        self._changed = threading.Condition()
        self._pending: list[_Pending] = []
        self._pending_bytes = 0
        self._shown: set[str] = set()
        self._forgot_at: float | None = None
        self._tidied_at = clock.monotonic()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, name="hooks-write", daemon=True),
            threading.Thread(target=self._keep_house, name="hooks-house", daemon=True),
        ]

    def start(self) -> None:
        """Measure what waits already, and begin.

        Raises:
            StoreError: the queue cannot be read.
        """
        self._measure()
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> bool:
        """Keep what was offered, and end; true if that was done within *seconds*."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        until = self._clock.monotonic() + seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def offer(self, arrived: Arrived, done: Callable[[Outcome], None]) -> None:
        """Have *arrived* kept; returns at once. *done* hears how it ended, on another thread or on this."""
        with self._changed:
            # One is always taken, however large.
            full = len(self._pending) >= _PENDING or (
                self._pending_bytes and self._pending_bytes + arrived.size > _PENDING_BYTES
            )
            if not full and not self._stopping.is_set():
                self._pending.append(_Pending(arrived, done))
                self._pending_bytes += arrived.size
                self._changed.notify_all()
                return
        done(Outcome.NOT_KEPT)

    # -- the thread that writes ----------------------------------------------------------------

    def _write(self) -> None:
        while batch := self._next():
            try:
                outcomes = self._keep(batch)
            except StoreError as error:
                log.warning("hooks could not be kept", extra={"hooks": len(batch), "error": str(error)})
                outcomes = [Outcome.NOT_KEPT] * len(batch)
            except Exception:
                # A bug must not end this thread: without it, nobody would ever be answered.
                log.exception("hooks could not be kept", extra={"hooks": len(batch)})
                outcomes = [Outcome.NOT_KEPT] * len(batch)
            for one, outcome in zip(batch, outcomes, strict=True):
                one.done(outcome)

    def _next(self) -> list[_Pending]:
        """What is to be kept with the next commit; empty when the intake has ended."""
        with self._changed:
            while not self._pending and not self._stopping.is_set():
                self._changed.wait()
            batch, self._pending = self._pending[:_AT_ONCE], self._pending[_AT_ONCE:]
            self._pending_bytes -= sum(one.arrived.size for one in batch)
            return batch

    def _keep(self, batch: list[_Pending]) -> list[Outcome]:
        """Keep as many of *batch* as there is room for; how it ended for each."""
        arrived = [one.arrived for one in batch]
        fits = self._filling.fits(arrived, self._collectors())
        fitting = [one for one, one_fits in zip(arrived, fits, strict=True) if one_fits]
        new = iter(self._inbox.add(fitting) if fitting else ())
        self._filling.add(fitting)
        return [
            (Outcome.KEPT if next(new) else Outcome.KNOWN) if one_fits else Outcome.NO_ROOM
            for one_fits in fits
        ]

    # -- the thread that keeps house -----------------------------------------------------------

    def _keep_house(self) -> None:
        complained = False
        while not self._stopping.wait(_LOOK_SECONDS):
            try:
                self._measure()
                self._tidy()
                self._forget()
            except StoreError as error:
                level = logging.DEBUG if complained else logging.WARNING
                log.log(level, "the queue of hooks could not be measured", extra={"error": str(error)})
                complained = True
            except Exception:
                log.exception("the queue of hooks could not be measured")
            else:
                complained = False

    def _measure(self) -> None:
        counted = self._filling.counted()
        queued = self._inbox.queued()
        self._filling.measured(queued, counted)
        wanted = {*self._collectors(), *queued}
        empty = Queued(0, 0, None)
        shown = {name: queued.get(name, empty) for name in wanted | self._shown}
        self._metrics.waiting({name: (one.hooks, one.oldest) for name, one in shown.items()})
        self._shown = wanted

    def _tidy(self) -> None:
        """Now and then, do what the disk takes long for: whoever acknowledges in that moment waits for it."""
        now = self._clock.monotonic()
        if self._tidies and now - self._tidied_at >= _TIDY_SECONDS:
            self._tidied_at = now
            self._inbox.tidy()

    def _forget(self) -> None:
        """Now and then, forget what nobody repeats, and what nobody will read."""
        now = self._clock.monotonic()
        if self._forgot_at is not None and now - self._forgot_at < _FORGET_SECONDS:
            return
        self._forgot_at = now
        self._inbox.forget(self._clock.now())
        left = self._inbox.discard(self._collectors(), self._clock.now() - _UNREAD)
        if left:
            log.warning(
                "hooks of collectors that are not configured any more were deleted", extra={"hooks": left}
            )
