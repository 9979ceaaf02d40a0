"""A real server on a real loopback port, and a client that says exactly the bytes it is told to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.web.app import LandingPage, WebParts, build_app
from exporter.web.limits import Limits
from exporter.web.server import WebServer, bind
from exporter.web.webconfig import TlsConfig
from tests.support.certificates import Pki
from tests.support.wire import Reply, Wire, heard

PATIENCE = 60.0
"""Seconds after which a test gives up on what should happen; no test passes by waiting for it."""


class Client(Wire):
    """One TCP connection to the server."""

    def __init__(self, server: WebServer, receive_buffer: int | None = None) -> None:
        host, _, port = server.addresses[0].rpartition(":")
        super().__init__(socket.socket())
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect((host, int(port)))

    def get(self, path: str, *fields: str, method: str = "GET") -> Reply:
        """The reply to a request without a body."""
        return self.ask(path, *fields, method=method)

    def put(self, path: str, body: bytes, method: str = "PUT") -> Reply:
        """The reply to a request with one."""
        return self.ask(path, method=method, body=body)


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

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=PATIENCE)

    def hold(self, client: Wire) -> Wire:
        """Have *client* scrape, and wait until that renders: those that come before it would share it."""
        client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        self.wait_entered()
        return client

    def open(self) -> None:
        self.opened.set()


def wait_until(condition: Callable[[], bool]) -> None:
    """Fail unless *condition* comes true."""
    deadline = time.monotonic() + PATIENCE
    never, pause = threading.Event(), 0.005
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        never.wait(pause)
        pause = min(pause * 1.2, 0.05)


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
    heard.clear()
