"""Sends what waits for each channel: in order, patiently, and no channel waits for another."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from exporter.errors import ExporterError, SinkError, Stopped
from exporter.model.alerts import Alert, Notice, NoticeKind
from exporter.sinkmetrics import Notified
from exporter.sinks.alerts.attempts import Attempts
from exporter.sinks.alerts.channels import Channel
from exporter.sinks.alerts.templates import duration, when
from exporter.sinks.base import SinkContext, try_each

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_STOP_SECONDS = 0.6
_STORE_SECONDS = 5.0
_MINUTE = 60.0
_LATE_SECONDS = 300.0
_BACKOFF_SECONDS, _BACKOFF_MAX_SECONDS = 5.0, 300.0
STUBBORN = 3
"""A message that failed so often is passed by: it may be the message's fault, not the channel's."""


class Dispatcher:
    """Takes notices from the store and sends them, over all *channels* at the same time.

    A notice is removed once it was taken: of a crash between the two comes one repeat, never a loss.
    """

    def __init__(self, channels: Mapping[str, Channel], context: SinkContext) -> None:
        self._context = context
        self._lanes = {name: Lane(channel, context) for name, channel in channels.items()}
        self._waiting = 0

    def run(self, stopping: threading.Event) -> None:
        """Send until *stopping* is set; returns within a second of it, also while an attempt hangs."""
        forget = self._context.work.add_buffer(lambda: self._waiting)
        for name in self._lanes:
            self._context.metrics.begin_channel(name)
        threads = [
            threading.Thread(target=lane.run, args=(stopping,), name=f"channel-{name}", daemon=True)
            for name, lane in self._lanes.items()
        ]
        for thread in threads:
            thread.start()
        try:
            self._keep_house(stopping)
        finally:
            forget()
            until = self._context.clock.monotonic() + _STOP_SECONDS
            for lane in self._lanes.values():
                lane.wake()
            for thread in threads:
                thread.join(max(0.0, until - self._context.clock.monotonic()))

    def remind(self, standing: Mapping[str, Sequence[Alert]]) -> None:
        """From now on, tell each channel that forgets of *standing* from time to time."""
        for name, lane in self._lanes.items():
            lane.standing = tuple(standing.get(name, ()))

    def try_out(self) -> Iterator[str]:
        """Lines for ``check --online`` on each channel; nothing is sent.

        Raises:
            SinkError: at the end, if some cannot be reached.
        """
        return try_each((f"channel {name}: ", lane.try_out) for name, lane in self._lanes.items())

    def _keep_house(self, stopping: threading.Event) -> None:
        """Drop what waits for channels that are configured no more, and count the rest from time to time."""
        dropped = False
        while not stopping.is_set():
            with suppress(ExporterError):  # of a store that fails, the lanes complain
                if not dropped:
                    self._drop_others()
                    dropped = True
                # Here, not at a scrape, which must not wait for the store.
                self._waiting = sum(self._context.store.notices.waiting().values())
            stopping.wait(_LOOK_SECONDS)

    def _drop_others(self) -> None:
        notices = self._context.store.notices
        gone = {name: count for name, count in notices.waiting().items() if name not in self._lanes}
        notices.remove_others(list(self._lanes))
        for name, count in gone.items():
            log.warning("channel is not configured any more", extra={"channel": name, "dropped": count})


class Lane:
    """The way to one channel; what it remembers outlives a pause in the work.

    ``standing`` is what the channel is reminded of, if it forgets; another thread replaces it.
    """

    def __init__(self, channel: Channel, context: SinkContext) -> None:
        self.name = channel.name
        self.standing: tuple[Alert, ...] = ()
        self._channel = channel
        self._resend_seconds = channel.resend_seconds
        self._settings = channel.settings
        self._context = context
        self._notices = context.store.notices
        self._turn = threading.Lock()
        self._stopping = self._bell = threading.Event()
        self._attempts = Attempts(channel, context.clock, lambda: self._stopping.is_set())
        self._failures = 0
        self._paused_until = self._reminded_at = float("-inf")
        self._reminder_failed = False
        self._sent_at: deque[float] = deque(maxlen=channel.settings.per_minute)
        self._done: set[int] = set()

    def wake(self) -> None:
        """Look at once whether there is something to do, or an end."""
        self._bell.set()

    def run(self, stopping: threading.Event) -> None:
        """Send what is due, until *stopping* is set."""
        with self._turn, self._notices.bell() as bell:
            self._stopping, self._bell = stopping, bell
            complained = False
            while not stopping.is_set():
                bell.clear()
                seconds = _LOOK_SECONDS
                try:
                    # First, as it needs no store.
                    self.remind()
                    if self.step():
                        continue
                    complained = False
                except ExporterError as error:
                    level = logging.DEBUG if complained else logging.WARNING
                    log.log(level, "channel waits for the store", extra=self._about(error=str(error)))
                    complained, seconds = True, _STORE_SECONDS
                except Exception:
                    # A bug must not end this channel for ever.
                    log.exception("channel raised", extra=self._about())
                    seconds = _STORE_SECONDS
                if not stopping.is_set():
                    bell.wait(seconds)

    def try_out(self) -> Iterator[str]:
        """Whether the channel can be reached.

        Raises:
            SinkError: it cannot.
        """
        try:
            yield from self._channel.try_out()
        except SinkError as error:
            advice = f"correct alerts.channels.{self.name}, or see to its receiver"
            raise SinkError(f"{error}; {advice}") from None

    def step(self) -> bool:
        """Send the next message; false if there is nothing to do now.

        Raises:
            StoreError: what waits cannot be read, or what was sent not be removed.
        """
        if self._done:
            # Sent, but the store did not take it when it was told: first of all, or they are sent again.
            self._remove(sorted(self._done))
        if self._must_wait():
            return False
        notice = self._notices.next(self.name, self._context.clock.now(), passing=STUBBORN)
        if notice is None:
            return False
        if notice.kind is NoticeKind.REPEATED and self._notices.is_overtaken(notice):
            # After an hour without the channel, people want to know how it is now, not how it went on.
            self._remove([notice.number])
            return True
        self._try(notice)
        return True

    def _must_wait(self) -> bool:
        """Whether the channel failed just now, or had its share of this minute."""
        now = self._context.clock.monotonic()
        if now < self._paused_until:
            return True
        return len(self._sent_at) == self._sent_at.maxlen and now - self._sent_at[0] < _MINUTE

    def _try(self, notice: Notice) -> None:
        """Send *notice*, and note what came of it."""
        self._sent_at.append(self._context.clock.monotonic())
        try:
            error = self._attempt(notice)
        except Stopped:
            return
        if error is not None:
            self._note_failure(notice, error)
            return
        if self._failures:
            log.info("channel works again", extra=self._about())
        self._failures = 0
        self._remove([notice.number])

    def _attempt(self, notice: Notice) -> Exception | None:
        """Why *notice* was not sent; ``None`` if it was. Counted either way.

        Raises:
            Stopped: nobody knows whether it was.
        """
        clock, metrics = self._context.clock, self._context.metrics
        began = clock.monotonic()
        try:
            with self._context.work.report_log():
                self._attempts.send(self._dated(notice))
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - whoever calls tells it, whatever it is
            metrics.notified(self.name, Notified.ERROR, clock.monotonic() - began)
            return error
        metrics.notified(self.name, Notified.SUCCESS, clock.monotonic() - began)
        return None

    def remind(self) -> None:
        """Tell a channel that forgets of what stands, if it is time; what fails is done the next time."""
        alerts, now = self.standing, self._context.clock.monotonic()
        if self._resend_seconds is None or not alerts or now - self._reminded_at < self._resend_seconds:
            return
        self._reminded_at = now
        created_at = self._context.clock.now()
        try:
            error = self._attempt(Notice(self.name, NoticeKind.REPEATED, "", "", alerts, created_at))
        except Stopped:
            return
        if error is not None:
            level = logging.DEBUG if self._reminder_failed else logging.WARNING
            log.log(level, "channel was not told again of what stands", extra=self._about(error=str(error)))
        self._reminder_failed = error is not None

    def _dated(self, notice: Notice) -> Notice:
        """*notice*, which says when it was so if it is late."""
        seconds = (self._context.clock.now() - notice.created_at).total_seconds()
        if seconds < _LATE_SECONDS:
            return notice
        then = when(notice.created_at.astimezone(self._context.zone))
        line = f"Late by {duration(seconds)}: this was so at {then}."
        return replace(notice, body=f"{line}\n{notice.body}")

    def _remove(self, numbers: list[int]) -> None:
        self._done.update(numbers)
        self._notices.remove(numbers)
        self._done.difference_update(numbers)

    def _note_failure(self, notice: Notice, error: Exception) -> None:
        """Put *notice* off, or give it up, and let the channel rest."""
        wait = error.retry_after if isinstance(error, SinkError) else None
        permanent = isinstance(error, SinkError) and error.permanent
        if not isinstance(error, SinkError):
            # A bug of ours or of a library: told in full, and tried again like anything else.
            log.error("sending raised", exc_info=error, extra=self._about())
        now = self._context.clock.now()
        if permanent or self._too_old(notice, now):
            self._give_up(notice, str(error))
            return
        self._failures += 1
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        log.log(level, "message was not sent", extra=self._about(error=str(error), title=notice.title))
        pause = max(_backoff(self._failures), wait or 0.0)
        self._paused_until = self._context.clock.monotonic() + pause
        # One that may be to blame itself rests longer than the channel, so that another one can show it.
        own = max(_backoff(notice.attempts + 1), wait or 0.0) * (2 if notice.attempts + 1 >= STUBBORN else 1)
        self._notices.postpone(notice.number, now + timedelta(seconds=own))

    def _too_old(self, notice: Notice, now: datetime) -> bool:
        return (now - notice.created_at).total_seconds() >= self._settings.give_up_after_seconds

    def _give_up(self, notice: Notice, reason: str) -> None:
        self._context.metrics.notified(self.name, Notified.GIVEN_UP)
        log.error(
            "message is given up",
            extra=self._about(error=reason, title=notice.title, attempts=notice.attempts + 1),
        )
        self._remove([notice.number])

    def _about(self, **facts: object) -> dict[str, object]:
        return {"channel": self.name, **facts}


def _backoff(failures: int) -> float:
    """Seconds to wait after that many failures: twice as long each time, up to five minutes, give or take."""
    seconds = min(_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10), _BACKOFF_MAX_SECONDS)
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - so that channels do not knock in step
