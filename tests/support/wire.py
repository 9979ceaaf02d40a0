"""A client that says exactly the bytes it is told to, and remembers what it was told."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PATIENCE = 60.0
"""Seconds after which a read gives up; no test passes by waiting for it."""
HOST = b"Host: localhost\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n"


@dataclass(frozen=True)
class Reply:
    """One response; the names of ``headers`` are in lower case, ``raw`` is all of it."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes


heard: list[Reply] = []
"""Every reply that any wire read since somebody last cleared this."""


class Wire:
    """One connection to a server, over any stream socket that is connected; a context manager."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def secure(self, context: ssl.SSLContext) -> Self:
        """Shake hands as a TLS client; closes if that fails."""
        try:
            self.sock = context.wrap_socket(self.sock, server_hostname="127.0.0.1")
        except BaseException:
            self.sock.close()
            raise
        return self

    def send(self, data: bytes) -> Self:
        """Send *data*, as far as the server takes it: one that refuses early closes early."""
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)
        return self

    def ask(self, target: str = "/metrics", *fields: str, method: str = "GET", body: bytes = b"") -> Reply:
        """The reply to one request on this connection, which stays open."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode() + body)
        return self.reply(has_body=method != "HEAD")

    def reply(self, *, has_body: bool = True) -> Reply:
        """The next reply; fails if the server closes before it is complete."""
        while b"\r\n\r\n" not in self._rest:
            self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        status = int(first.split()[1])
        length = int(headers.get("content-length", "0")) if has_body and status >= 200 else 0
        while len(self._rest) < length:
            self._receive()
        body, self._rest = self._rest[:length], self._rest[length:]
        heard.append(Reply(status, headers, body, head + b"\r\n\r\n" + body))
        return heard[-1]

    def _receive(self) -> None:
        data = self.sock.recv(1 << 20)
        if not data:
            raise EOFError(f"closed after {self._rest!r}")
        self._rest += data

    def rest(self) -> bytes:
        """Everything until the server closes, by whatever means."""
        data, self._rest = self._rest, b""
        try:
            while chunk := self.sock.recv(1 << 20):
                data += chunk
        except ConnectionError:
            pass
        return data

    def half_close(self) -> Self:
        """Say that nothing more will be sent."""
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


_TELLTALE = re.compile(
    rb"Traceback|File \"|\.py\b|site-packages|<class|object at 0x|\b[A-Z]\w*(?:Error|Exception|Warning)\b"
    rb"|(?<![\w.:/-])/(?:tmp|home|usr|etc|var|root|opt|srv|proc|dev)/"
)


def leaks(replies: Iterable[Reply], secrets: Iterable[str], private: Iterable[str]) -> list[str]:
    """What *replies* tell that nobody should hear.

    No reply may hold one of *secrets*; no error may hold one of *private* (folders, say), a path, a
    traceback, or the name of a Python class.
    """
    found = []
    for reply in replies:
        hidden = [*secrets, *(private if reply.status >= 400 else ())]
        found += [f"{reply.status}: {word}" for word in hidden if word.encode() in reply.raw]
        if reply.status >= 400 and (match := _TELLTALE.search(reply.raw)):
            found.append(f"{reply.status}: {match[0]!r} in {reply.raw!r}")
    return found
