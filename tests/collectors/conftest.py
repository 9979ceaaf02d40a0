"""A small HTTP server that answers as a test tells it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answerer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One request; ``send`` answers it well, the socket is there for all else."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        number = min(len(self.server.seen), len(self.server.answers)) - 1
        self.server.answers[number](self)

    def do_POST(self) -> None:
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.do_GET()

    def send(self, body: object = None, status: int = 200, **headers: str) -> None:
        """Answer with JSON, or with bytes as they are; header names have ``_`` for ``-``."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    def handle(self) -> None:
        self.server.connections += 1
        with suppress(ConnectionError):  # the client had enough
            super().handle()

    def log_message(self, *_args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Gives its answers one after the other, and the last one for ever."""

    daemon_threads = True

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), Handler)
        self.answers: list[Answerer] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.posted: list[Any] = []
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}"


@pytest.fixture
def server_at() -> Iterator[Callable[[str], Server]]:
    """Starts servers on loopback addresses, so that they are different hosts."""
    started: list[tuple[Server, threading.Thread]] = []

    def start(host: str) -> Server:
        server = Server(host)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(server_at: Callable[[str], Server]) -> Server:
    return server_at("127.0.0.1")
