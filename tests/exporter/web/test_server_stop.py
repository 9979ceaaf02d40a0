from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from exporter.errors import ExporterError
from exporter.web.app import WebParts, build_app
from exporter.web.limits import Limits
from exporter.web.server import WebServer, bind

Serve = Callable[..., WebServer]
Connect = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]
GET_METRICS = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


def _place(server: WebServer) -> tuple[str, int]:
    host, _, port = server.addresses[0].rpartition(":")
    return host, int(port)


def _refuses(server: WebServer) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(_place(server)) != 0


def _web_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "ci-exporter-web"]


def test_stop_cuts_everyone_who_is_not_waiting_for_an_answer(serve: Serve, connect: Connect) -> None:
    body = bytes(8 * 1024 * 1024)
    server = serve(Limits(linger_seconds=60), render=lambda *args: [body])
    idle = connect(server)
    assert idle.get("/healthz").status == 200
    clients = [
        idle,
        connect(server),
        connect(server).send(b"GET / HT"),
        connect(server).send(b"PUT /log_level HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab"),
        connect(server).send(b"nonsense\r\n\r\n"),
        connect(server, 4096).send(GET_METRICS),
    ]
    # The last one is being answered once something of the answer is there.
    clients[-1].sock.recv(1, socket.MSG_PEEK)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 20.0
    assert _refuses(server)
    assert _web_threads() == []
    for client in clients:
        client.rest()


def test_stop_without_connections_does_not_wait(serve: Serve) -> None:
    server = serve()
    started = time.monotonic()
    server.stop(60.0)
    assert time.monotonic() - started < 20.0


def test_stop_lets_requests_in_flight_finish(
    serve: Serve, connect: Connect, gate: Any, eventually: Eventually
) -> None:
    gate.body = bytes(8 * 1024 * 1024)
    server = serve(render=gate.render)
    client = connect(server).send(GET_METRICS)
    gate.wait_entered()
    stopper = threading.Thread(target=server.stop, args=(60.0,))
    stopper.start()
    eventually(lambda: _refuses(server))
    assert stopper.is_alive()
    gate.open()
    reply = client.reply()
    assert (reply.status, len(reply.body)) == (200, len(gate.body))
    assert client.rest() == b""
    stopper.join(20.0)
    assert not stopper.is_alive()


def test_stop_does_not_wait_for_a_render_that_hangs(
    serve: Serve, connect: Connect, gate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(render=gate.render)
    client = connect(server).send(GET_METRICS)
    gate.wait_entered()
    server.stop(1.0)
    assert _web_threads() == []
    assert client.rest() == b""
    assert "1 connections were cut at the stop" in caplog.text


def test_a_port_can_be_bound_again_at_once(serve: Serve, connect: Connect, parts: WebParts) -> None:
    server = serve()
    address = server.addresses[0]
    clients = [connect(server) for _ in range(5)]
    assert all(client.get("/healthz").status == 200 for client in clients)
    for _ in range(3):
        server.stop()
        server = WebServer(build_app(parts), bind([address]))
        server.start()
        clients.append(connect(server))
        assert clients[-1].get("/healthz").status == 200
    server.stop()


def test_stop_twice_and_without_start_do_no_harm(serve: Serve, parts: WebParts) -> None:
    server = serve()
    server.stop()
    server.stop()
    never_started = WebServer(build_app(parts), bind(["127.0.0.1:0"]))
    never_started.stop()
    assert _refuses(never_started)
    never_started.stop()


def test_a_server_that_cannot_start_says_so_and_leaves_nothing(parts: WebParts) -> None:
    sockets = bind(["127.0.0.1:0", "127.0.0.1:0"])
    server = WebServer(build_app(parts), sockets)
    sockets[1].close()
    with pytest.raises(ExporterError, match="the web server did not start"):
        server.start()
    assert _web_threads() == []
    assert _refuses(server)


def test_the_tls_context_is_built_at_the_start(parts: WebParts) -> None:
    def no_context() -> Any:
        raise ExporterError("the certificate cannot be read")

    server = WebServer(build_app(parts), bind(["127.0.0.1:0"]), tls=no_context)
    with pytest.raises(ExporterError, match="the certificate cannot be read"):
        server.start()
    assert _refuses(server)


def test_several_addresses_are_served(connect: Connect, parts: WebParts) -> None:
    server = WebServer(build_app(parts), bind(["127.0.0.1:0", "[::1]:0"]))
    server.start()
    try:
        assert server.addresses[1].startswith("[::1]:")
        for address in server.addresses:
            host, _, port = address.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), timeout=20) as sock:
                sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    finally:
        server.stop()


def test_starting_stopping_and_nonsense_leave_logging_alone(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        server = serve()
        assert connect(server).get("/healthz").status == 200
        assert connect(server).send(b"nonsense\r\n\r\n").reply().status == 400
        server.stop()
    assert [record for record in caplog.records if record.name != "asyncio"] == []


def test_the_server_takes_no_signal_handlers(serve: Serve) -> None:
    import signal

    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    serve()
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_loop_comes_round_until_it_is_stopped(serve: Serve) -> None:
    server = serve()
    assert server.turns(60)
    server.stop()
    assert not server.turns(60)
