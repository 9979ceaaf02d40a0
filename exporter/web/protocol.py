"""One client's connection: uvicorn's h11 protocol with the absolute deadlines and caps that it lacks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from enum import Enum

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from exporter.clock import Clock
from exporter.web.limits import Limits
from exporter.web.strict import Bodies, Refusal, StrictConnection

_log = logging.getLogger(__name__)
# uvicorn warns about every malformed request, which would let anyone fill the log.
_log.setLevel(logging.ERROR)

_TOO_SLOW = Refusal(408, "The request did not arrive in time.")
_FULL = Refusal(503, "There are too many connections.")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Phase(Enum):
    """What a connection is doing; each phase that waits for the client has its own deadline."""

    HANDSHAKE = "agreeing on TLS"
    HEAD = "reading a head"
    BODY = "reading a body"
    ANSWER = "waiting for the application"
    FLUSH = "writing what the client has not taken"
    IDLE = "kept open between requests"
    LINGER = "refused, reading until the client has seen it"


_SHEDDABLE = frozenset({Phase.HANDSHAKE, Phase.HEAD, Phase.BODY, Phase.IDLE, Phase.LINGER})


class Connections(ServerState):
    """All connections of one server and what they share; touched by its loop only.

    ``headers`` gives those that every answer carries; the application puts them into its own. ``refused``
    hears the target and the status of each request that the application never saw. ``gone`` is set once the
    server drains and the last connection has closed.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        headers: Callable[[], Mapping[str, str]],
        refused: Callable[[str, int], None] = lambda _target, _status: None,
    ) -> None:
        super().__init__()
        self.limits = limits
        self.clock = clock
        self.headers = headers
        self.refused = refused
        self.bodies = Bodies(limits.bodies_bytes)
        self.draining = False
        self.gone = asyncio.Event()
        self._dated: datetime | None = None

    def guarded(self) -> list[GuardedProtocol]:
        """The open connections, in no order."""
        return [one for one in self.connections if isinstance(one, GuardedProtocol)]

    def make_room(self, newcomer: GuardedProtocol) -> bool:
        """Whether *newcomer* may stay; when full, the connection that waited longest for its client goes.

        A client that has stopped reading its response counts only if nobody else waits, so that a
        scraper on a slow line is not cut for a crowd of silent connections.
        """
        if len(self.connections) <= self.limits.connections:
            return True
        others = [one for one in self.guarded() if one is not newcomer]
        waiting = [one for one in others if one.phase in _SHEDDABLE]
        stalled = [one for one in others if one.stalled_since is not None]
        if waiting:
            victim = min(waiting, key=lambda one: one.since)
        elif stalled:
            victim = min(stalled, key=lambda one: one.stalled_since or 0.0)
        else:
            return False
        # connection_lost comes only with the next turn of the loop: too late to count a burst.
        self.connections.discard(victim)
        victim.cut()
        return True

    def date(self) -> None:
        """Have answers carry the time of now; it is written once for each second."""
        now = self.clock.now().replace(microsecond=0)
        if now != self._dated:
            self._dated = now
            self.default_headers = [(b"date", format_datetime(now, usegmt=True).encode())]

    def note_closed(self) -> None:
        if self.draining and not self.connections:
            self.gone.set()


class GuardedProtocol(H11Protocol):
    """One connection, always in exactly one :class:`Phase`; ``since`` is when that began, in loop time.

    With *tls* it begins with a handshake, and its transport says when that is over.
    """

    def __init__(
        self, config: Config, shared: Connections, loop: asyncio.AbstractEventLoop, *, tls: bool = False
    ) -> None:
        super().__init__(config, shared, {}, loop)
        self.logger = _log
        self.shared = shared
        self.limits = shared.limits
        self.strict = StrictConnection(shared.limits, shared.bodies)
        self.conn = self.strict
        self.phase = Phase.HANDSHAKE if tls else Phase.HEAD
        self.since = loop.time()
        self.stalled_since: float | None = None
        self._request_started = self.since
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._half_closed = False

    # -- what the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # With a limit of 0, "paused" means that the client has not taken everything yet, and
        # "resumed" that it has: exactly the two edges that the write deadline needs.
        transport.set_write_buffer_limits(high=0)
        # asyncio does this only for sockets made with the protocol named. Without it the body of an answer
        # waits until the client has acknowledged the head, which takes 40 ms. A Unix socket has no such wait.
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.since = self._request_started = self.loop.time()
        if self.shared.draining:
            self.cut()
        elif self.shared.make_room(self):
            handshake = self.phase is Phase.HANDSHAKE
            seconds = self.limits.handshake_seconds if handshake else self.limits.header_seconds
            self._read_until(self.since + seconds)
        elif self.phase is Phase.HANDSHAKE:
            # No answer could be read, and a full server has no time for handshakes.
            self.cut()
        else:
            self.refuse(_FULL, linger=False)

    def secured(self) -> None:
        """The handshake is over: from here on this is HTTP like any other."""
        self.scheme = "https"
        self._enter(Phase.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_until(None)
        self._stop_writing_timer()
        self.strict.release()
        super().connection_lost(exc)
        self.shared.note_closed()

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.LINGER or self.conn.their_state in (h11.MUST_CLOSE, h11.CLOSED):
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        super().data_received(data)
        self._settle()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Whether the transport stays open: a client that only stopped sending still wants its reply."""
        self._half_closed = True
        return self._answering() and self.transport.can_write_eof()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled_since = self.loop.time()
        if self._writing is None:
            self._writing = self.loop.call_later(self.limits.write_seconds, self.cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stalled_since = None
        if not self._answering():
            self._stop_writing_timer()
            self._settle()

    # -- what uvicorn calls

    def handle_events(self) -> None:
        self.shared.date()
        super().handle_events()

    def _should_upgrade(self) -> bool:
        return False

    def send_400_response(self, msg: str) -> None:
        self.shared.refused(self.strict.target.decode("ascii", "replace"), self.strict.refusal.status)
        self.refuse(self.strict.refusal)

    def on_response_complete(self) -> None:
        self.shared.total_requests += 1
        self.strict.release()
        if not self.flow.write_paused:
            self._stop_writing_timer()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.DONE:
            self.conn.start_next_cycle()
            self._request_started = self.loop.time()
            self.handle_events()
        if self._half_closed and not self._answering() and self.phase is not Phase.LINGER:
            self.transport.close()
        self._settle()

    # -- ends

    def refuse(self, refusal: Refusal, *, linger: bool = True) -> None:
        """Say why, and close; with *linger* only after the client has had time to read it."""
        if self._answering() and self.cycle.response_started:
            self.cut()
        else:
            self._say_last(refusal.response(self.shared.headers()), linger=linger)

    def turn_away(self) -> None:
        """Close without a word of HTTP, but only after the client has had time to read what TLS told it."""
        self._say_last(b"", linger=True)

    def _say_last(self, words: bytes, *, linger: bool) -> None:
        self._abandon()
        self._enter(Phase.LINGER)
        if self.transport.is_closing():
            return
        self.transport.write(words)
        if linger and not self._half_closed and self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()

    def cut(self) -> None:
        """Close now, whatever is unsent."""
        self._abandon()
        if self.stalled_since is not None:
            # Without a reset the kernel would go on holding its part for a client that does not read.
            raw = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def drain(self, seconds: float) -> None:
        """Finish the request in flight, if any, and close; a client that does not read has *seconds*."""
        if not self._answering() and self.stalled_since is None:
            self.cut()
            return
        if self._answering():
            self.cycle.keep_alive = False
        else:
            self.transport.close()
        if self.stalled_since is not None:
            self._stop_writing_timer()
            self._writing = self.loop.call_later(seconds, self.cut)

    def _abandon(self) -> None:
        """Let go of a request whose answer nobody will get, and of its body."""
        self.strict.release()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    # -- phases and their deadlines

    def _answering(self) -> bool:
        """Whether a complete request waits for the rest of its response."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.disconnected:
            return False
        return self.conn.their_state is not h11.SEND_BODY

    def _settle(self) -> None:
        """Enter the phase that the connection is in by now."""
        if self.phase not in (Phase.HANDSHAKE, Phase.LINGER):
            self._enter(self._phase_now())

    def _phase_now(self) -> Phase:
        if self._answering():
            return Phase.ANSWER
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.BODY
        if self.flow.write_paused:
            return Phase.FLUSH
        if self.cycle is None or self.conn.trailing_data[0]:
            return Phase.HEAD
        return Phase.IDLE

    def _enter(self, phase: Phase) -> None:
        if phase is self.phase:
            return
        self.phase = phase
        self.since = self.loop.time()
        if phase is Phase.HEAD:
            self._request_started = self.since
            self._read_until(self.since + self.limits.header_seconds)
        elif phase is Phase.BODY:
            self._read_until(self._request_started + self.limits.request_seconds)
        elif phase is Phase.IDLE:
            self._read_until(self.since + self.limits.idle_seconds)
        elif phase is Phase.LINGER:
            self._read_until(self.since + self.limits.linger_seconds)
        else:
            self._read_until(None)

    def _read_until(self, deadline: float | None) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._reading = None if deadline is None else self.loop.call_at(deadline, self._too_slow)

    def _too_slow(self) -> None:
        """The client missed the deadline of its phase."""
        started = self.phase is Phase.BODY or (self.phase is Phase.HEAD and bool(self.conn.trailing_data[0]))
        if started:
            self.refuse(_TOO_SLOW, linger=False)
        else:
            self.cut()

    def _stop_writing_timer(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
