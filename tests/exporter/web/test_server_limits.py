from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from exporter.web.app import WebParts, build_app
from exporter.web.limits import Limits
from exporter.web.server import WebServer, bind
from exporter.web.whole import SLICE_BYTES, WholeMessages

Serve = Callable[..., WebServer]
Connect = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]
PATIENCE = 60.0
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
GET_METRICS = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
HALF_HEAD = b"GET /healthz HTTP/1.1\r\nX: "
HALF_BODY = b"PUT /log_level HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _drip_until_closed(
    clients: Sequence[Any], first: bytes, probe: Callable[[], None], *, since: float | None = None
) -> list[float]:
    """Send each client *first*, then byte after byte; seconds until each was closed, from *since* or now."""
    started = since or time.monotonic()
    for client in clients:
        with suppress(ConnectionError):  # closed already, if that took long
            client.send(first)
    open_clients = {client.sock: client for client in clients}
    closed: list[float] = []
    while open_clients:
        assert time.monotonic() - started < PATIENCE, f"{len(open_clients)} connections stayed open"
        probe()
        # The wait paces the drip; it ends early as soon as the server closes one.
        readable, _, _ = select.select(list(open_clients), [], [], 0.02)
        for sock in readable:
            open_clients.pop(sock).rest()
            closed.append(time.monotonic() - started)
        for client in open_clients.values():
            try:
                client.sock.send(b"x")
            except ConnectionError:
                continue
    return closed


def _was_reset(client: Any) -> bool:
    """Whether the server cut the connection, without reading a byte of what it sent."""
    poll = select.poll()
    poll.register(client.sock, 0)
    return bool(poll.poll(0))


def _probe(server: WebServer, connect: Connect) -> Callable[[], None]:
    def probe() -> None:
        client = connect(server)
        assert client.get("/healthz").body == b"ok\n"
        client.sock.close()

    return probe


def test_slow_headers_are_closed_at_an_absolute_deadline(serve: Serve, connect: Connect) -> None:
    server = serve(Limits(header_seconds=0.5))
    before = time.monotonic()
    clients = [connect(server) for _ in range(30)]
    closed = _drip_until_closed(clients, HALF_HEAD, _probe(server, connect), since=before)
    assert len(closed) == 30
    assert min(closed) > 0.4, "not sooner than promised either"


def test_slow_headers_on_a_kept_connection_are_closed_as_well(serve: Serve, connect: Connect) -> None:
    server = serve(Limits(header_seconds=0.5))
    client = connect(server)
    assert client.get("/healthz").status == 200
    assert _drip_until_closed([client], HALF_HEAD, lambda: None)[0] > 0.4


def test_slow_headers_after_a_pipelined_request_are_closed_as_well(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Limits(header_seconds=0.5))).send(GET + HALF_HEAD)
    assert client.reply().status == 200
    assert client.reply().status == 408
    assert client.rest() == b""


def test_slow_bodies_are_closed_at_an_absolute_deadline(serve: Serve, connect: Connect) -> None:
    server = serve(Limits(header_seconds=5, request_seconds=0.7))
    before = time.monotonic()
    clients = [connect(server) for _ in range(10)]
    closed = _drip_until_closed(clients, HALF_BODY, _probe(server, connect), since=before)
    assert len(closed) == 10
    assert min(closed) > 0.6


def test_a_slow_request_is_told_that_it_is_slow(serve: Serve, connect: Connect) -> None:
    server = serve(Limits(header_seconds=0.5, request_seconds=0.5))
    for data in (HALF_HEAD, HALF_BODY):
        assert connect(server).send(data).reply().status == 408


def test_silent_connections_are_closed_and_cost_nothing_afterwards(
    serve: Serve, connect: Connect, eventually: Eventually
) -> None:
    server = serve(Limits(header_seconds=1.0, connections=300))
    _probe(server, connect)()
    eventually(lambda: _open_connections(server) == 0)
    before = _descriptors()
    clients = [connect(server) for _ in range(200)]
    _probe(server, connect)()
    for client in clients:
        assert client.rest() == b""
        client.sock.close()
    eventually(lambda: _descriptors() <= before)


def _open_connections(server: WebServer) -> int:
    """How many sockets this process has that are connected to *server*, on the server's side."""
    port = int(server.addresses[0].rpartition(":")[2])
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    established = {"01", "08"}
    return sum(1 for row in rows if row[1].endswith(f":{port:04X}") and row[3] in established)


def test_an_idle_connection_is_kept_and_then_closed(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Limits(header_seconds=0.5, request_seconds=0.5, idle_seconds=1)))
    started = time.monotonic()
    assert client.get("/healthz").status == 200
    assert client.rest() == b""
    assert time.monotonic() - started >= 1


def test_no_deadline_of_reading_cuts_a_slow_render(serve: Serve, connect: Connect, gate: Any) -> None:
    limits = Limits(header_seconds=1, request_seconds=1, idle_seconds=1, write_seconds=1)
    server = serve(limits, render=gate.render)
    client = connect(server).send(GET_METRICS)
    gate.wait_entered()
    # Somebody who comes now and says nothing is there for as long as each of the deadlines.
    assert connect(server).rest() == b""
    gate.open()
    assert client.reply().body == b"done\n"


def test_health_is_answered_while_every_render_thread_is_busy(
    serve: Serve, connect: Connect, gate: Any
) -> None:
    server = serve(Limits(workers=2), render=gate.render)
    busy = [gate.hold(connect(server)) for _ in range(2)]
    busy.append(connect(server).send(GET_METRICS))
    client = connect(server)
    for path in ("/healthz", "/-/healthy", "/-/ready"):
        assert client.get(path).status == 200
    gate.open()
    assert [one.reply().body for one in busy] == [b"done\n"] * 3


def test_readers_that_do_not_read_are_reset(serve: Serve, connect: Connect, eventually: Eventually) -> None:
    body = bytes(8 * 1024 * 1024)
    server = serve(Limits(write_seconds=0.5), render=lambda *args: [body])
    started = time.monotonic()
    clients = [connect(server, 4096).send(GET_METRICS) for _ in range(20)]
    probe = _probe(server, connect)
    probe()
    eventually(lambda: all(map(_was_reset, clients)))
    assert time.monotonic() - started >= 0.5
    probe()


def test_a_reader_that_leaves_only_a_little_is_reset_too(
    connect: Connect, eventually: Eventually, parts: WebParts
) -> None:
    # asyncio by itself would report no pressure below 64 KB.
    with _narrow(replace(parts, render=lambda *args: [bytes(60 * 1024)])) as server:
        client = connect(server, 2048).send(GET_METRICS)
        eventually(lambda: _was_reset(client))


def test_a_client_that_asks_and_never_reads_is_reset(
    connect: Connect, eventually: Eventually, parts: WebParts
) -> None:
    with _narrow(parts) as server:
        client = connect(server, 4096)
        client.sock.setblocking(False)

        def asked_until_reset() -> bool:
            try:
                while True:
                    client.sock.send(GET * 100)
            except BlockingIOError:
                return _was_reset(client)
            except ConnectionError:
                return True

        eventually(asked_until_reset)


@contextmanager
def _narrow(parts: WebParts) -> Iterator[WebServer]:
    """A server whose kernel takes a few KB of an answer and no more; left alone, it may take megabytes."""
    sockets = bind(["127.0.0.1:0"])
    sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    server = WebServer(build_app(parts), sockets, Limits(write_seconds=0.3))
    server.start()
    try:
        yield server
    finally:
        server.stop(1.0)


def test_over_the_cap_the_oldest_waiting_connection_makes_room(serve: Serve, connect: Connect) -> None:
    server = serve(Limits(connections=16, header_seconds=60))
    idle = connect(server)
    assert idle.get("/healthz").status == 200
    silent = [connect(server) for _ in range(60)]
    assert connect(server).get("/healthz").status == 200
    assert idle.rest() == b""
    # 61 came before the probe, and 15 of them may stay.
    for client in silent[: 60 - 15]:
        assert client.rest() == b""
    for client in silent[-15:]:
        assert client.get("/healthz").status == 200


def test_over_the_cap_a_connection_with_half_a_request_makes_room(serve: Serve, connect: Connect) -> None:
    server = serve(Limits(connections=2, header_seconds=60, request_seconds=60))
    half = [connect(server).send(HALF_HEAD), connect(server).send(HALF_BODY)]
    assert connect(server).get("/healthz").status == 200
    assert connect(server).get("/healthz").status == 200
    assert [client.rest() for client in half] == [b"", b""]


def test_over_the_cap_requests_in_flight_are_kept_and_the_next_is_told(
    serve: Serve, connect: Connect, gate: Any
) -> None:
    server = serve(Limits(connections=2), render=gate.render)
    busy = [gate.hold(connect(server)) for _ in range(2)]
    refused = connect(server).reply()
    assert (refused.status, refused.headers["connection"]) == (503, "close")
    gate.open()
    assert [client.reply().body for client in busy] == [b"done\n"] * 2
    assert connect(server).get("/healthz").status == 200


def test_readers_that_do_not_read_cannot_lock_out_a_scrape(
    serve: Serve, connect: Connect, eventually: Eventually
) -> None:
    body = bytes(8 * 1024 * 1024)
    server = serve(Limits(connections=4, write_seconds=60), render=lambda *args: [body])
    stuck = [connect(server, 4096).send(GET_METRICS) for _ in range(4)]
    for client in stuck:
        assert client.sock.recv(1, socket.MSG_PEEK)

    def answered() -> bool:
        client = connect(server)
        status = client.get("/healthz").status
        client.sock.close()
        return bool(status == 200)

    # Until all four are stuck they are ordinary requests in flight, and 503 is the right answer.
    eventually(answered)
    assert sum(map(_was_reset, stuck)) == 1


def test_resets_in_the_middle_of_everything_leak_nothing(
    serve: Serve, connect: Connect, eventually: Eventually
) -> None:
    body = bytes(1024 * 1024)
    # One worker, so that it is there before the count.
    server = serve(Limits(workers=1), render=lambda *args: [body])
    probe = _probe(server, connect)
    first = connect(server)
    assert first.get("/metrics", "Connection: close").status == 200
    assert first.rest() == b""
    first.sock.close()
    eventually(lambda: _open_connections(server) == 0)
    descriptors, threads = _descriptors(), set(threading.enumerate())
    for data in (b"", HALF_HEAD, HALF_BODY, GET, GET_METRICS):
        for _ in range(100):
            connect(server).send(data).reset()
    probe()
    eventually(lambda: _descriptors() <= descriptors)
    # Not their number: threads of a test before this one may end meanwhile.
    eventually(lambda: set(threading.enumerate()) <= threads)


def test_answers_do_not_wait_for_acknowledgements(serve: Serve, connect: Connect) -> None:
    client = connect(serve())
    seconds = []
    for _ in range(60):
        started = time.monotonic()
        assert client.get("/healthz").status == 200
        seconds.append(time.monotonic() - started)
    # A body that waits until its head is acknowledged comes 40 ms later, on a fast machine as well: all but
    # the first ones, which the kernel acknowledges at once. A busy machine is late often, but not always.
    assert min(seconds[30:]) < 0.035


def test_slices_are_small_and_add_up() -> None:
    body = os.urandom(3 * SLICE_BYTES + 1)
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == {"type": "http.request", "body": b"ab", "more_body": False}
        assert await receive() == {"type": "http.disconnect"}
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})

    incoming = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b", "more_body": False},
    ]

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(WholeMessages(app)({"type": "http"}, receive, send))
    parts = [message["body"] for message in sent[1:]]
    assert b"".join(parts) == body
    assert max(map(len, parts)) == SLICE_BYTES
    assert [message.get("more_body", False) for message in sent[1:]] == [True, True, True, False]
