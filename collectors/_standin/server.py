"""A small HTTP/1.1 server in one thread: keep-alive, pipelining, and replies that misbehave when told to."""

from __future__ import annotations

import asyncio
import socket
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from collectors._standin.asking import Request
from collectors._standin.faults import Reply
from collectors._standin.site import Site

_LONGEST_HEAD = 64 * 1024
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@lru_cache(maxsize=8)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


class Connection(asyncio.Protocol):
    """One client; requests are answered in order, the next one only after the last was sent."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._buffer = b""
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        """Send nothing any more."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._buffer += data
        self._drain()

    def _drain(self) -> None:
        while not self._busy and self._transport is not None:
            try:
                request = self._take()
            except ValueError:
                self._send(Reply(400, [], b"bad request"), Request("GET", "", {"connection": "close"}))
                return
            if request is None:
                return
            self._answer(request)

    def _take(self) -> Request | None:
        """The next whole request, ``None`` while it is not here yet."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _LONGEST_HEAD:
                raise ValueError("head too long")
            return None
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        headers = {"connection": "close"} if version == "HTTP/1.0" else {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        until = end + 4 + int(headers.get("content-length", 0))
        if len(self._buffer) < until:
            return None
        body, self._buffer = self._buffer[end + 4 : until], self._buffer[until:]
        return Request(method, target, headers, body)

    def _answer(self, request: Request) -> None:
        reply = self._site.handle(request)
        if reply.delay <= 0:
            self._send(reply, request)
            return
        self._busy = True
        asyncio.get_running_loop().call_later(reply.delay, self._send_late, reply, request)

    def _send_late(self, reply: Reply, request: Request) -> None:
        self._busy = False
        self._send(reply, request)
        self._drain()

    def _send(self, reply: Reply, request: Request) -> None:
        if self._transport is None:
            return
        if reply.dropped:
            self._transport.close()
            return
        last = request.headers.get("connection", "").lower() == "close" or reply.declared is not None
        length = len(reply.body) if reply.declared is None else reply.declared
        lines = [
            f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, '')}",
            "Server: nginx",
            f"Date: {_date(self._site.now // 1000)}",
            f"Content-Length: {length}",
            f"Connection: {'close' if last else 'keep-alive'}",
            *(f"{name}: {value}" for name, value in reply.headers),
        ]
        head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        self._transport.write(head if request.method == "HEAD" else head + reply.body)
        if last:
            self._transport.close()


def listen(port: int) -> socket.socket:
    """A socket that accepts on the loopback interface only; port 0 takes any free one."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


async def serve(site: Site, bound: socket.socket, stopping: asyncio.Event) -> None:
    """Answer on *bound* until *stopping* is set; open connections are cut then."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(site), sock=bound, backlog=4096)
    await stopping.wait()
    server.close()
