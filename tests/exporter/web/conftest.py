"""A real server on a real loopback port, and a client that says exactly the bytes it is told to."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from exporter.web.app import LandingPage, WebParts, build_app
from exporter.web.limits import Limits
from exporter.web.server import WebServer, bind
from exporter.web.webconfig import TlsConfig
from tests.support.certificates import Pki

PATIENCE = 20.0
"""Seconds after which a test gives up on what should happen; no test passes by waiting for it."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One TCP connection to the server."""

    def __init__(self, server: WebServer, receive_buffer: int | None = None) -> None:
        host, _, port = server.addresses[0].rpartition(":")
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        self.sock.connect((host, int(port)))
        self._rest = b""

    def secure(self, context: ssl.SSLContext) -> Client:
        """Shake hands as a TLS client."""
        self.sock = context.wrap_socket(self.sock, server_hostname="127.0.0.1")
        return self

    def send(self, data: bytes) -> Client:
        self.sock.sendall(data)
        return self

    def get(self, path: str, *fields: str, method: str = "GET") -> Reply:
        """The reply to a request on this connection, which stays open."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]
        self.send("\r\n".join(lines).encode())
        return self.reply(has_body=method != "HEAD")

    def put(self, path: str, body: bytes, method: str = "PUT") -> Reply:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        return self.send(head.encode() + body).reply()

    def reply(self, *, has_body: bool = True) -> Reply:
        """The next reply."""
        while b"\r\n\r\n" not in self._rest:
            self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        status = int(first.split()[1])
        length = int(headers.get("content-length", "0")) if has_body and status >= 200 else 0
        while len(self._rest) < length:
            self._receive()
        body, self._rest = self._rest[:length], self._rest[length:]
        return Reply(status, headers, body)

    def _receive(self) -> None:
        data = self.sock.recv(1 << 20)
        if not data:
            raise EOFError(f"closed after {self._rest!r}")
        self._rest += data

    def remaining(self) -> bytes:
        """Everything until the server closes, by whatever means."""
        data = self._rest
        try:
            while chunk := self.sock.recv(1 << 20):
                data += chunk
        except ConnectionError:
            pass
        self._rest = b""
        return data

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Gate:
    """A render that waits, and can be waited for."""

    def __init__(self, body: bytes = b"done\n") -> None:
        self.body = body
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def render(self, *args: object) -> list[bytes]:
        self.entered.release()
        assert self.opened.wait(PATIENCE)
        return [self.body]

    def wait_entered(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.entered.acquire(timeout=PATIENCE)

    def open(self) -> None:
        self.opened.set()


def wait_until(condition: Callable[[], bool]) -> None:
    """Fail unless *condition* comes true."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        pause.wait(0.01)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    return wait_until


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


@pytest.fixture
def parts() -> WebParts:
    return WebParts(
        render=lambda fmt, gzip, names, collectors: [f"{fmt.name} {gzip} {names} {collectors}\n".encode()],
        readiness=lambda: None,
        landing=lambda: LandingPage("ci-exporter", "1.2.3", "Metrics of CI."),
        reload=lambda: None,
        set_log_level=lambda level: None,
    )


@pytest.fixture
def serve(parts: WebParts) -> Iterator[Callable[..., WebServer]]:
    """Starts a server with the default parts, changed by keyword; ``limits`` and ``tls`` are the server's."""
    servers: list[WebServer] = []

    def start(
        limits: Limits | None = None,
        *,
        tls: Callable[[], TlsConfig | None] | None = None,
        **changes: object,
    ) -> WebServer:
        app = build_app(replace(parts, **changes))  # type: ignore[arg-type]
        server = WebServer(app, bind(["127.0.0.1:0"]), limits or Limits(), tls=tls)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop(1.0)


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def open_one(server: WebServer, receive_buffer: int | None = None) -> Client:
        clients.append(Client(server, receive_buffer))
        return clients[-1]

    yield open_one
    for client in clients:
        client.sock.close()
