"""The Kafka sink: events from the outbox to a topic, each acknowledged before the position passes it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from confluent_kafka import KafkaError

from exporter.config.sinks import KafkaSettings
from exporter.errors import StoreError
from exporter.sinks.base import Claims, Sink, SinkContext, try_each
from exporter.sinks.kafka.envelopes import ENVELOPES, Message, key_of
from exporter.sinks.kafka.producing import MAX_BATCH_BYTES, MIN_BATCH_BYTES, NEVER_TAKEN, PURGED, Line
from exporter.sinks.kafka.telling import Account
from exporter.sinks.kafka.trying import try_out
from exporter.sinks.kafka.window import Flight, Window

log = logging.getLogger(__name__)

_READ_EVENTS = 500
_SAVE_SECONDS = 0.2
_LOOK_SECONDS = 2.0  # how soon events are seen that another process saved
_SERVE_SECONDS = 0.05
_IDLE_SECONDS = 0.4
_END_SECONDS = 0.5
_PAUSE_SECONDS = (0.1, 30.0)
_NO_TOPIC = (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART)


class KafkaSink(Sink):
    """Delivers to one topic, at least once each event, and in order those of one key.

    After a restart, what was acknowledged after the stored position is sent again, with the same ``ce_id``.
    With *claims*, what another producer tells counts as delivered.
    """

    name = "kafka"
    make_line = Line

    def __init__(
        self,
        settings: KafkaSettings,
        context: SinkContext,
        streams: frozenset[str],
        claims: Claims | None = None,
    ) -> None:
        self.streams = streams
        self._settings = settings
        self._context = context
        self._claims = claims

    def run(self, stopping: threading.Event) -> None:
        outbox = self._context.store.outbox
        with outbox.bell() as bell, Account(self.name, self._context) as account:
            run = _Run(self, account, outbox.position(self.name), bell)
            try:
                while not stopping.is_set():
                    run.turn(stopping)
            finally:
                run.end()

    def try_out(self) -> Iterator[str]:
        tries = [("", lambda: try_out(self._settings))]
        if self._claims is not None:
            tries.append(("", self._claims.try_out))
        return try_each(tries)

    def close(self) -> None:
        if self._claims is not None:
            self._claims.close()


class _Run:
    """One run of the sink: its window, its line of the moment, and what is known of the outbox."""

    def __init__(self, sink: KafkaSink, account: Account, position: int, bell: threading.Event) -> None:
        self._sink = sink
        self._settings = settings = sink._settings
        self._context = sink._context
        self._outbox = sink._context.store.outbox
        self._now = sink._context.clock.monotonic
        self._account = account
        self._bell = bell
        self._envelope = ENVELOPES[settings.format]
        self._window = Window(
            position,
            lambda event: key_of(event, settings.key),
            events=settings.in_flight_events,
            size=settings.in_flight_bytes,
        )
        self._batch_bytes = MAX_BATCH_BYTES
        self._line = sink.make_line(settings, self._batch_bytes)
        self._look_at = 0.0
        self._saved, self._save_at = position, 0.0
        self._pause = _PAUSE_SECONDS[0]
        self._progress_at = self._now()

    def turn(self, stopping: threading.Event) -> None:
        """Read, send, take reports, and go on; waits a moment if there is nothing else to do."""
        busy = self._read()
        busy |= self._send()
        self._line.serve(0 if busy or not self._window.flying else _SERVE_SECONDS)
        if self._window.failures or self._line.fatal:
            self._begin_anew(stopping)
        self._settle()
        self._save()
        self._judge()
        self._account.count()
        if not busy and not self._window.flying and not self._window.unsent:
            self._bell.wait(_IDLE_SECONDS)

    # -- from the outbox to the line -----------------------------------------------------------

    def _read(self) -> bool:
        """Take more events into the window, if it has room and there may be some."""
        room = min(self._window.room, _READ_EVENTS)
        if not room or (self._now() < self._look_at and not self._bell.is_set()):
            return False
        self._bell.clear()
        entries = self._outbox.read(self._sink.name, self._window.seen, room, self._window.room_bytes)
        if not entries:
            self._look_at = self._now() + _LOOK_SECONDS
            return False
        claims = self._sink._claims
        ours = claims.claim([entry.event for entry in entries]) if claims else [True] * len(entries)
        if not len(self._window):
            self._progress_at = self._now()
        self._window.add(entries, ours)
        self._account.sent(entries[-1].position)
        self._look_at = 0.0
        return True

    def _send(self) -> bool:
        """Send what may be sent; false if nothing was."""
        sent = False
        while flight := self._window.next():
            try:
                message = self._envelope(flight.entry.event)
            except (ValueError, LookupError, TypeError) as error:
                self._bury(flight, f"it cannot be put into the format {self._settings.format}: {error}")
                continue
            if not self._hand_over(flight, message):
                break
            sent = True
        return sent

    def _hand_over(self, flight: Flight, message: Message) -> bool:
        """Give *message* to the line; false if nothing more can be given to it now."""
        try:
            error = self._line.send(flight, message)
        except BufferError:
            self._line.serve(_SERVE_SECONDS)  # its own queue is full: the event stays the next one
            return False
        if error is None:
            self._window.sent(flight)
        elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._bury(flight, f"it is larger than max_event_bytes, {self._settings.max_event_bytes}")
        elif error.code() in NEVER_TAKEN:
            self._bury(flight, error.str())
        else:
            flight.error = error
            self._window.failures += 1
            return False
        return True

    def _bury(self, flight: Flight, reason: str) -> None:
        entry = flight.entry
        self._outbox.bury(self._sink.name, entry, reason, self._context.clock.now())
        self._window.bury(flight)
        self._account.buried(entry.event.id, reason)

    # -- after a failure -----------------------------------------------------------------------

    def _begin_anew(self, stopping: threading.Event) -> None:
        """Make another line, and send all that is undelivered once more, from the first on."""
        fatal = self._line.fatal
        self._line.close()
        failed = self._window.start_over()
        refused = [(flight, error) for flight, error in failed if error.code() in NEVER_TAKEN]
        if refused:
            self._examine(refused)
        else:
            reasons = (error for _, error in failed if error.code() not in PURGED)
            self._wait(next(reasons, fatal), stopping)
        self._line = self._sink.make_line(self._settings, self._batch_bytes)

    def _examine(self, refused: list[tuple[Flight, KafkaError]]) -> None:
        """Bury what was refused; of several in a batch it is not known which one, so each goes alone."""
        if len(refused) == 1:
            flight, error = refused[0]
            self._bury(flight, error.str())
            return
        largest = max(flight.bytes for flight, _ in refused)
        sizes = all(error.code() == KafkaError.MSG_SIZE_TOO_LARGE for _, error in refused)
        if sizes and self._batch_bytes > 2 * largest:
            # Perhaps none is too large, but all of them together are: the topic takes less than we send.
            self._batch_bytes = max(MIN_BATCH_BYTES, self._batch_bytes // 4)
        else:
            self._window.alone_until = max(flight.entry.position for flight, _ in refused)

    def _wait(self, error: KafkaError | None, stopping: threading.Event) -> None:
        """Wait before the next attempt, longer each time."""
        self._account.failed(self._reason(error), definite=error is not None)
        until = self._now() + self._pause
        while self._now() < until and not stopping.wait(min(1.0, self._pause)):
            self._account.count()
        self._pause = min(2 * self._pause, _PAUSE_SECONDS[1])

    def _reason(self, error: KafkaError | None) -> str:
        if error is None:
            return "the producer failed"
        if error.code() in _NO_TOPIC:
            return f"there is no topic {self._settings.topic}, and the brokers make none: create it"
        return error.str()

    # -- from the line to the outbox -----------------------------------------------------------

    def _settle(self) -> None:
        ended = self._window.settle()
        if ended:
            self._progress_at = self._now()
            self._pause = _PAUSE_SECONDS[0]
            self._account.ended(self._window.reached, ended)

    def _save(self) -> None:
        if self._window.reached > self._saved and self._now() >= self._save_at:
            self._outbox.advance(self._sink.name, self._window.reached)
            self._saved = self._window.reached
            self._save_at = self._now() + _SAVE_SECONDS

    def _judge(self) -> None:
        """Say how it goes."""
        trouble, self._line.trouble = self._line.trouble, None
        patience = self._settings.request_timeout_seconds
        if not len(self._window):
            if self._now() < self._look_at:
                self._account.idle()
        elif trouble:
            self._account.failed(trouble)
        elif self._now() - self._progress_at > patience:
            self._account.failed(f"no broker acknowledged anything for {patience:g} seconds")
        if self._line.refused_login and not self._line.log_in_again():
            log.debug("the login was refused, and password_file holds no other password")

    def end(self) -> None:
        """Take the reports that come within a moment, save the position, and let go of the rest."""
        until = self._now() + (0.0 if self._account.failing else _END_SECONDS)
        while self._window.flying and not self._line.fatal and self._now() < until:
            self._line.serve(_SERVE_SECONDS)
        self._line.close()
        self._settle()
        self._save_at = 0.0
        try:
            self._save()
        except StoreError as error:
            log.warning("position is not saved", extra={"sink": self._sink.name, "error": str(error)})
