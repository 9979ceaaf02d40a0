from __future__ import annotations

import logging
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import FixedClock
from exporter.web.contexts import Contexts
from exporter.web.limits import Limits
from exporter.web.server import WebServer
from tests.support.certificates import Pki

Serve = Callable[..., WebServer]
Connect = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]
PATIENCE = 60.0
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
GET_METRICS = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
HALF_HEAD = b"GET /healthz HTTP/1.1\r\nX: "
HALF_BODY = b"PUT /log_level HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"


class Separate:
    """A TLS client whose every byte on the wire is in the test's hands."""

    def __init__(self, client: Any, context: ssl.SSLContext) -> None:
        self.client = client
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")

    def hello(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def shake_hands(self) -> Separate:
        self.client.send(self.hello())
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.incoming.write(self.client.sock.recv(1 << 16))
        self.flush()
        return self

    def flush(self) -> None:
        self.client.send(self.outgoing.read())

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.flush()

    def say_goodbye(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()

    def rest(self) -> tuple[bytes, bool]:
        """What the server still says until it closes, and whether it says goodbye."""
        self.incoming.write(self.client.rest())
        data = b""
        try:
            while part := self.tls.read(1 << 16):
                data += part
        except (ssl.SSLZeroReturnError, ssl.SSLWantReadError) as exc:
            return data, isinstance(exc, ssl.SSLZeroReturnError)
        return data, True


@pytest.fixture
def serve_tls(serve: Serve, pki: Pki) -> Serve:
    def start(limits: Limits | None = None, **changes: object) -> WebServer:
        return serve(limits, tls=pki.config, **changes)

    return start


@pytest.fixture
def connect_tls(connect: Connect, pki: Pki) -> Connect:
    context = pki.client()
    return lambda *args: connect(*args).secure(context)


def _was_reset(client: Any) -> bool:
    """Whether the server cut the connection, without reading a byte of what it sent."""
    poll = select.poll()
    poll.register(client.sock, 0)
    return bool(poll.poll(0))


def _server_side(server: WebServer) -> int:
    """How many sockets this process has that are connected to *server*, on the server's side."""
    port = int(server.addresses[0].rpartition(":")[2])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[1].endswith(f":{port:04X}") and row[3] in ("01", "08"))


def _drip_until_closed(clients: Sequence[Any], data: bytes, probe: Callable[[], None]) -> float:
    """Send each client *data* byte by byte, then blanks; the seconds until the first was closed."""
    started = time.monotonic()
    first = 0.0
    waiting = {client.sock: iter(data) for client in clients}
    while waiting:
        assert time.monotonic() - started < PATIENCE, f"{len(waiting)} connections stayed open"
        probe()
        # The wait paces the drip; it ends early as soon as the server closes one.
        for sock in select.select(list(waiting), [], [], 0.02)[0]:
            waiting.pop(sock)
            first = first or time.monotonic() - started
        for sock, rest in waiting.items():
            with suppress(OSError):
                sock.send(bytes([next(rest, 32)]))
    return first


def _probe(server: WebServer, connect_tls: Connect) -> Callable[[], None]:
    def probe() -> None:
        client = connect_tls(server)
        assert client.get("/healthz").body == b"ok\n"
        client.sock.close()

    return probe


# -- handshakes


def test_silent_connections_are_closed_at_the_deadline_of_the_handshake(
    serve_tls: Serve, connect: Connect, connect_tls: Connect, eventually: Eventually
) -> None:
    server = serve_tls(Limits(handshake_seconds=1.0, header_seconds=60, connections=300))
    _probe(server, connect_tls)()
    eventually(lambda: _server_side(server) == 0)
    before = len(os.listdir("/proc/self/fd"))
    clients = [connect(server) for _ in range(100)]
    _probe(server, connect_tls)()
    for client in clients:
        assert client.rest() == b""
        client.sock.close()
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_slow_handshakes_are_closed_at_an_absolute_deadline(
    serve_tls: Serve, connect: Connect, connect_tls: Connect, pki: Pki
) -> None:
    server = serve_tls(Limits(handshake_seconds=0.5, header_seconds=60))
    clients = [connect(server) for _ in range(10)]
    hello = Separate(None, pki.client()).hello()
    assert len(hello) > 200
    assert _drip_until_closed(clients, hello, _probe(server, connect_tls)) > 0.2


def test_a_handshake_that_stops_half_way_is_closed(serve_tls: Serve, connect: Connect, pki: Pki) -> None:
    client = connect(serve_tls(Limits(handshake_seconds=0.3, header_seconds=60)))
    client.send(Separate(client, pki.client()).hello())
    assert client.rest()[:1] == b"\x16"


def test_a_request_is_answered_while_500_connections_are_silent(
    serve_tls: Serve, connect: Connect, connect_tls: Connect, pki: Pki
) -> None:
    server = serve_tls(Limits(handshake_seconds=60, connections=64))
    kept = connect_tls(server)
    silent = [connect(server) for _ in range(500)]
    assert connect_tls(server).get("/healthz").status == 200
    # The kept one had waited longest, so it was the first to make room; 63 silent ones may stay.
    assert kept.rest() == b""
    for client in silent[: 500 - 63]:
        assert client.rest() == b""
    for client in silent[-62:]:
        assert client.secure(pki.client()).get("/healthz").status == 200


def test_over_the_cap_requests_in_flight_are_kept_and_the_next_is_cut(
    serve_tls: Serve, connect: Connect, connect_tls: Connect, gate: Any
) -> None:
    server = serve_tls(Limits(connections=2), render=gate.render)
    busy = [gate.hold(connect_tls(server)) for _ in range(2)]
    assert connect(server).rest() == b""
    gate.open()
    assert [client.reply().body for client in busy] == [b"done\n"] * 2
    assert connect_tls(server).get("/healthz").status == 200


def test_the_deadline_of_the_first_head_begins_after_the_handshake(
    serve_tls: Serve, connect: Connect, pki: Pki
) -> None:
    server = serve_tls(Limits(handshake_seconds=60, header_seconds=1.0))
    client = connect(server)
    # Silent for as long as another connection takes to miss the deadline of its head.
    other = connect(server).secure(pki.client())
    assert other.rest() == b""
    assert client.secure(pki.client()).get("/healthz").status == 200


# -- requests and answers


def test_slow_heads_and_bodies_are_told_and_closed(serve_tls: Serve, connect_tls: Connect) -> None:
    server = serve_tls(Limits(header_seconds=0.3, request_seconds=0.3))
    for data in (HALF_HEAD, HALF_BODY):
        client = connect_tls(server).send(data)
        assert client.reply().status == 408
        assert client.rest() == b""


def test_idle_connections_are_closed_with_a_goodbye(
    serve_tls: Serve, connect: Connect, pki: Pki, eventually: Eventually
) -> None:
    server = serve_tls(Limits(idle_seconds=0.3))
    client = Separate(connect(server), pki.client()).shake_hands()
    client.send(GET)
    data, goodbye = client.rest()
    assert data.endswith(b"ok\n")
    assert goodbye
    eventually(lambda: _server_side(server) == 0)


def test_keep_alive_and_pipelining(serve_tls: Serve, connect_tls: Connect) -> None:
    server = serve_tls(render=lambda *args: [bytes(300_000)])
    client = connect_tls(server)
    for _ in range(3):
        assert client.get("/healthz").status == 200
    client.send(GET + GET_METRICS + GET)
    assert [len(client.reply().body) for _ in range(3)] == [3, 300_000, 3]
    head = client.get("/metrics", method="HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, "300000", b"")
    assert client.get("/healthz").status == 200


def test_a_request_in_many_records_and_in_many_segments(serve_tls: Serve, connect: Connect, pki: Pki) -> None:
    client = Separate(connect(serve_tls()), pki.client()).shake_hands()
    for byte in GET[:-4] + b"\r\nConnection: close\r\n\r\n":
        client.tls.write(bytes([byte]))
    for byte in client.outgoing.read():
        client.client.send(bytes([byte]))
    data, goodbye = client.rest()
    assert data.endswith(b"ok\n")
    assert goodbye


def test_a_large_body_arrives_whole(serve_tls: Serve, connect_tls: Connect) -> None:
    body = os.urandom(5_000_001)
    server = serve_tls(render=lambda *args: [body[:1000], body[1000:]])
    for client in (connect_tls(server), connect_tls(server, 4096)):
        assert client.get("/metrics", "Connection: close").body == body
        assert client.rest() == b""


def test_readers_that_do_not_read_are_reset(
    serve_tls: Serve, connect_tls: Connect, eventually: Eventually
) -> None:
    server = serve_tls(Limits(write_seconds=0.5), render=lambda *args: [bytes(8 * 1024 * 1024)])
    started = time.monotonic()
    clients = [connect_tls(server, 4096).send(GET_METRICS) for _ in range(10)]
    eventually(lambda: all(map(_was_reset, clients)))
    assert time.monotonic() - started >= 0.5
    _probe(server, connect_tls)()


def test_readers_that_do_not_read_cost_little_memory(serve_tls: Serve, connect_tls: Connect) -> None:
    body = bytes(8 * 1024 * 1024)
    server = serve_tls(Limits(write_seconds=60), render=lambda *args: [body])
    probe = _probe(server, connect_tls)
    probe()
    before = _resident()
    clients = [connect_tls(server, 4096).send(GET_METRICS) for _ in range(40)]
    for client in clients:
        assert socket.socket.recv(client.sock, 1, socket.MSG_PEEK)
    probe()
    # 320 MB wait to be read; each reader may hold a slice of 256 KB, encrypted.
    assert _resident() - before < 80e6


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_refusals_are_read_although_the_client_still_sends(serve_tls: Serve, connect_tls: Connect) -> None:
    server = serve_tls()
    client = connect_tls(server).send(
        b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"
    )
    with suppress(OSError):
        client.send(bytes(500_000))
    assert client.reply().status == 413
    assert client.rest() == b""


# -- ends


@pytest.mark.parametrize("goodbye", [True, False])
def test_a_client_that_only_stopped_sending_gets_its_reply(
    serve_tls: Serve, connect: Connect, pki: Pki, gate: Any, goodbye: bool
) -> None:
    gate.body = bytes(1_000_000)
    server = serve_tls(render=gate.render)
    client = Separate(connect(server), pki.client()).shake_hands()
    client.send(GET_METRICS)
    gate.wait_entered()
    if goodbye:
        client.say_goodbye()
    client.client.sock.shutdown(socket.SHUT_WR)
    gate.open()
    data, answered = client.rest()
    assert len(data) > 1_000_000
    assert answered


def test_a_goodbye_alone_gets_a_reply_and_a_goodbye(serve_tls: Serve, connect: Connect, pki: Pki) -> None:
    server = serve_tls()
    client = Separate(connect(server), pki.client()).shake_hands()
    client.tls.write(GET)
    client.say_goodbye()
    data, goodbye = client.rest()
    assert data.endswith(b"ok\n")
    assert goodbye
    idle = Separate(connect(server), pki.client()).shake_hands()
    idle.say_goodbye()
    assert idle.rest() == (b"", True)


def test_a_client_that_never_answers_a_goodbye_keeps_nothing_open(
    serve_tls: Serve, connect_tls: Connect, eventually: Eventually
) -> None:
    server = serve_tls()
    clients = [connect_tls(server) for _ in range(3)]
    for client in clients:
        assert client.get("/healthz", "Connection: close").status == 200
    eventually(lambda: _server_side(server) == 0)


def test_a_client_that_is_turned_away_and_stays_is_closed(
    serve_tls: Serve, connect: Connect, eventually: Eventually
) -> None:
    server = serve_tls(Limits(linger_seconds=0.2))
    clients = [connect(server).send(data) for data in (GET, b"\x16\x03\x01\x00\x05hello")]
    eventually(lambda: _server_side(server) == 0)
    assert clients[0].rest().startswith(b"HTTP/1.1 400")
    # An alert.
    assert clients[1].rest()[:1] == b"\x15"


def test_stop_ends_tls_connections_in_every_state(
    serve_tls: Serve, connect: Connect, connect_tls: Connect, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(handshake_seconds=60, header_seconds=60, write_seconds=60, linger_seconds=60)
    server = serve_tls(limits, render=lambda *args: [bytes(8 * 1024 * 1024)])
    half_way = connect(server)
    half_way.send(Separate(half_way, pki.client()).hello()).sock.recv(1, socket.MSG_PEEK)
    reader = connect_tls(server, 4096).send(GET_METRICS)
    idle = connect_tls(server)
    assert idle.get("/healthz").status == 200
    clients = [
        idle,
        half_way,
        connect(server),
        connect(server).send(GET),
        connect_tls(server),
        connect_tls(server).send(HALF_HEAD),
        connect_tls(server).send(HALF_BODY),
        connect_tls(server).send(b"nonsense\r\n\r\n"),
        reader,
    ]
    socket.socket.recv(reader.sock, 1, socket.MSG_PEEK)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < PATIENCE / 2
    assert [one.name for one in threading.enumerate() if one.name == "ci-exporter-web"] == []
    for client in clients:
        client.rest()
    assert caplog.records == []


def test_stop_lets_requests_in_flight_finish(serve_tls: Serve, connect_tls: Connect, gate: Any) -> None:
    gate.body = bytes(8 * 1024 * 1024)
    server = serve_tls(render=gate.render)
    client = connect_tls(server).send(GET_METRICS)
    gate.wait_entered()
    stopper = threading.Thread(target=server.stop, args=(60.0,))
    stopper.start()
    gate.open()
    assert len(client.reply().body) == len(gate.body)
    assert client.rest() == b""
    stopper.join(PATIENCE)
    assert not stopper.is_alive()


# -- the end of a certificate


def test_the_coming_end_of_the_certificate_is_said_once_a_day(
    pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    end = datetime(2040, 1, 10, tzinfo=UTC)
    pki.renew(not_after=end)
    clock = FixedClock(end - timedelta(days=8))
    contexts = Contexts(pki.config, clock)
    contexts.check()

    def said() -> list[str]:
        caplog.clear()
        for _ in range(3):
            contexts.now()
        # The level of the log is another test's to set: only warnings are always there.
        return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]

    assert said() == []
    clock.advance(86400)
    assert said() == ["the TLS certificate expires at 2040-01-10 00:00:00+00:00; renew it"]
    clock.advance(86000)
    assert said() == []
    clock.advance(400)
    assert len(said()) == 1
    clock.advance(6 * 86400)
    assert said() == ["the TLS certificate expired at 2040-01-10 00:00:00+00:00; renew it"]
    pki.renew(not_after=end + timedelta(days=90))
    assert said() == []
