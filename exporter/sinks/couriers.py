"""The threads of the sinks: each delivers while this process polls, and fails alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial

from exporter.clock import Clock
from exporter.errors import ExporterError, Stopped, StoreError
from exporter.sinkmetrics import SinkMetrics
from exporter.sinks.base import Sink
from exporter.store.outbox import Outbox

log = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0
_SWEEP_SECONDS = 10.0
_FORGET_SECONDS = 3600.0
_Work = Callable[[threading.Event], None]


class Couriers:
    """All sinks that are configured, running or standing by; the calls come from several threads."""

    def __init__(self, outbox: Outbox, metrics: SinkMetrics, clock: Clock) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._turn = threading.Lock()
        self._sinks: tuple[Sink, ...] = ()
        self._stopping = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._leading = False

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Those that are configured now."""
        return self._sinks

    def exchange(self, sinks: Sequence[Sink], wait: float) -> None:
        """Go on with *sinks*; those until now get *wait* seconds to end what they began."""
        for sink in sinks:
            try:
                self._outbox.subscribe(sink.name, sink.streams)
            except StoreError as error:
                # It does so again when it begins. What cannot be reached saves no events meanwhile either.
                log.warning("sink is not subscribed yet", extra={"sink": sink.name, "error": str(error)})
        with self._turn:
            self._end(wait)
            for sink in self._sinks:
                sink.close()
            for name in {sink.name for sink in self._sinks} - {sink.name for sink in sinks}:
                self._metrics.forget(name)
            self._sinks = tuple(sinks)
            for sink in sinks:
                self._metrics.begin(sink.name)
            if self._leading:
                self._begin()

    def lead(self, leading: bool) -> None:
        """This process polls from now on, or does so no more; returns at once."""
        with self._turn:
            if leading is self._leading:
                return
            self._leading = leading
            if leading:
                self._begin()
            else:
                self._stopping.set()

    def stop(self, seconds: float) -> bool:
        """End all sinks; true if each came to its end within *seconds*."""
        with self._turn:
            self._leading = False
            ended = self._end(seconds)
        if ended:
            for sink in self._sinks:
                sink.close()
        return ended

    def _begin(self) -> None:
        self._stopping = stopping = threading.Event()
        # One that hangs is kept in mind until it ends: the next of its name waits for it, and no other does.
        before = {name: thread for name, thread in self._threads.items() if thread.is_alive()}
        self._threads = dict(before)
        works: list[tuple[str, _Work]] = [(sink.name, partial(self._deliver, sink)) for sink in self._sinks]
        if self._sinks or self._outbox.streams:
            works.append(("outbox", self._keep_house))
        for name, work in works:
            thread = self._threads[name] = threading.Thread(
                target=self._run,
                args=(name, work, stopping, before.get(name)),
                name=f"sink-{name}",
                daemon=True,
            )
            thread.start()

    def _end(self, seconds: float) -> bool:
        self._stopping.set()
        until = self._clock.monotonic() + seconds
        for thread in self._threads.values():
            thread.join(max(0.0, until - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in self._threads.values())

    def _run(
        self,
        name: str,
        work: _Work,
        stopping: threading.Event,
        before: threading.Thread | None,
    ) -> None:
        """Have *work* done until *stopping*; after the one *before*, which may deliver still."""
        if before is not None:
            before.join()
        complained = False
        while not stopping.is_set():
            try:
                work(stopping)
            except Stopped:
                break
            except ExporterError as error:
                self._note_failure(name)
                level = logging.DEBUG if complained else logging.WARNING
                log.log(level, "sink failed", extra={"sink": name, "error": str(error)})
                complained = True
            except Exception:
                # A bug of one sink must not end it for ever, nor touch the others.
                self._note_failure(name)
                log.exception("sink raised", extra={"sink": name})
            else:
                complained = False
            stopping.wait(_RETRY_SECONDS)
        self._rest(name)

    def _deliver(self, sink: Sink, stopping: threading.Event) -> None:
        # Another process, which is configured without it, may have dropped it since.
        self._outbox.subscribe(sink.name, sink.streams)
        sink.run(stopping)

    def _rest(self, name: str) -> None:
        """Show no more how the sink went: from now on only the process that polls next knows."""
        if name in {sink.name for sink in self._sinks}:
            self._metrics.forget(name)
            self._metrics.begin(name)

    def _note_failure(self, name: str) -> None:
        if name in {sink.name for sink in self._sinks}:
            self._metrics.failed(name)

    def _keep_house(self, stopping: threading.Event) -> None:
        """Drop sinks that are configured no more, and delete what is delivered and what may be forgotten."""
        for name, left in self._outbox.unsubscribe_others([sink.name for sink in self._sinks]).items():
            log.warning("sink is not configured any more", extra={"sink": name, "undelivered": left})
        forgot_at = -_FORGET_SECONDS
        while not stopping.is_set():
            self._outbox.sweep()
            if self._clock.monotonic() - forgot_at >= _FORGET_SECONDS:
                self._outbox.forget(self._clock.now())
                forgot_at = self._clock.monotonic()
            stopping.wait(_SWEEP_SECONDS)
