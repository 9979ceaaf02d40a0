"""The TLS side of one connection: a handshake under our own limits, and nothing held back afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import Any

from exporter.errors import ConfigError
from exporter.web.contexts import Contexts
from exporter.web.protocol import GuardedProtocol
from exporter.web.strict import Refusal
from exporter.web.tls import is_allowed

_SPEAKS_HTTPS = Refusal(400, "This port speaks HTTPS, not plain HTTP.")
_TLS_HANDSHAKE = 0x16
_PIECE_BYTES = 64 * 1024
"""Bytes through OpenSSL at once: its memory buffers keep the largest size they ever had."""
_log = logging.getLogger(__name__)


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """A connection that must begin with TLS: a protocol to the socket's transport, a transport to *inner*.

    *inner* knows the connection from its first moment, so caps, deadlines and stops cover handshakes too.
    The context is chosen when the first byte comes.

    Why not asyncio's own: it tells its protocol nothing before the handshake is over, holds encrypted bytes
    that its flow control does not count, waits for an answer to its goodbye, and cannot half-close.
    Here all that is encrypted is with the socket's transport at once, so its flow control is exact.
    """

    def __init__(self, inner: GuardedProtocol, contexts: Contexts) -> None:
        super().__init__()
        self._inner = inner
        self._contexts = contexts
        self._raw: asyncio.Transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._untried: list[ssl.SSLContext] = []
        self._hello = bytearray()
        self._allowed_sans: tuple[str, ...] = ()
        self._secured = False
        self._plain = False
        self._deaf = False

    # -- what the socket's transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._raw = transport
        self._inner.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        # *inner* and this know each other; without this, OpenSSL's memory waited for the garbage collector.
        self._tls = None
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._deaf and self._tls is None:
            self._begin(data[0])
        view = memoryview(data)
        for start in range(0, len(view), _PIECE_BYTES):
            if self._tls is None or self._deaf or self._raw.is_closing():
                return
            piece = view[start : start + _PIECE_BYTES]
            self._incoming.write(piece)
            if self._untried:
                self._hello += piece
            if self._secured or self._shake_hands(self._tls):
                self._read(self._tls)

    def eof_received(self) -> bool | None:
        """Whether the connection stays open; no goodbye is no harm, since requests say their length."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    # -- the handshake

    def _begin(self, first_byte: int) -> None:
        if first_byte != _TLS_HANDSHAKE:
            self._plain = True
            self._inner.refuse(_SPEAKS_HTTPS)
            return
        try:
            identity = self._contexts.now()
        except ConfigError as exc:
            self._refuse(exc)
            return
        self._allowed_sans = identity.config.allowed_sans
        self._untried = list(identity.contexts)
        self._offer_next()

    def _offer_next(self) -> ssl.SSLObject:
        """Begin the handshake, or begin it anew with the next context and what the client said so far."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming.write(self._hello)
        self._tls = self._untried.pop(0).wrap_bio(self._incoming, self._outgoing, server_side=True)
        return self._tls

    def _shake_hands(self, tls: ssl.SSLObject) -> bool:
        """Whether the handshake is over and the client may speak."""
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            if self._outgoing.pending:
                # The server has answered, so the choice is made.
                self._untried.clear()
                self._hello.clear()
            self._flush()
            return False
        except ssl.SSLError as exc:
            if self._untried:
                return self._shake_hands(self._offer_next())
            self._flush()
            self._refuse(exc)
            return False
        self._flush()
        self._secured = True
        if not is_allowed(tls.getpeercert(), self._allowed_sans):
            self._refuse("the certificate carries none of the allowed names")
            return False
        self._inner.secured()
        return True

    def _refuse(self, why: object) -> None:
        _log.debug("a TLS handshake failed: %s", why)
        self._inner.turn_away()

    # -- bytes

    def _read(self, tls: ssl.SSLObject) -> None:
        parts: list[bytes] = []
        ended = False
        try:
            while part := tls.read(_PIECE_BYTES):
                parts.append(part)
            ended = self._deaf = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as exc:
            _log.debug("a TLS connection broke: %s", exc)
            self._flush()
            self._inner.cut()
            return
        self._flush()
        if parts:
            self._inner.data_received(b"".join(parts))
        if ended and not self._inner.eof_received():
            self.close()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and not self._raw.is_closing():
            self._raw.write(data)

    def _say_goodbye(self) -> None:
        self._deaf = True
        if self._secured and self._tls is not None:
            self._secured = False
            # It wants to read the client's goodbye, for which nobody needs to wait.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()

    # -- what *inner* uses

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._plain:
            self._raw.write(data)
            return
        view = memoryview(data)
        while view and self._secured and self._tls is not None and not self._raw.is_closing():
            try:
                view = view[self._tls.write(view[:_PIECE_BYTES]) :]
            except ssl.SSLError as exc:
                _log.debug("a TLS connection broke: %s", exc)
                self._inner.cut()
                return
            self._flush()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._say_goodbye()
        self._raw.write_eof()

    def close(self) -> None:
        if not self._raw.is_closing():
            self._say_goodbye()
            self._raw.close()

    def abort(self) -> None:
        if not self._raw.get_write_buffer_size():
            # Clients report a missing goodbye as an error, and here it is no wait: the kernel takes it.
            self._say_goodbye()
        self._deaf = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._raw.get_extra_info(name, default)
