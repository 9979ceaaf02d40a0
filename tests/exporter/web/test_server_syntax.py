from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from exporter.web.limits import Limits
from exporter.web.server import WebServer

Serve = Callable[..., WebServer]
Connect = Callable[..., Any]
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"PUT /log_level HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400),
        (b"garbage\r\n\r\n", 400),
        (b"GET /\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (CHUNKED + b"5 5\r\nhello\r\n", 400),
        (CHUNKED + b"\r\n", 400),
        (b"PUT /log_level HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000000\r\n\r\n", 413),
        (CHUNKED + b"20000\r\n" + b"a" * 0x20000, 413),
        (b"GET /?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /?" + b"a" * 2_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1_000_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5000 + b"\r\n", 431),
    ],
)
def test_what_is_not_proper_http_is_refused_and_closed(
    serve: Serve, connect: Connect, data: bytes, status: int
) -> None:
    # A request that follows must not be answered: nobody knows where the refused one ends.
    server = serve(Limits(linger_seconds=20))
    client = connect(server).send(data + GET)
    reply = client.reply()
    assert reply.status == status
    assert reply.headers["connection"] == "close"
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.body.endswith(b".\n")
    assert client.rest() == b""
    assert connect(server).get("/healthz").status == 200


def test_a_refused_request_in_the_middle_of_others_ends_the_connection(
    serve: Serve, connect: Connect
) -> None:
    client = connect(serve()).send(GET + b"GET / HTTP/1.1\r\n\r\n" + GET)
    assert [client.reply().status, client.reply().status] == [200, 400]
    assert client.rest() == b""


def test_requests_sent_at_once_are_answered_in_order(serve: Serve, connect: Connect, gate: Any) -> None:
    client = connect(serve(render=gate.render))
    client.send(GET.replace(b"/healthz", b"/metrics") + GET + GET.replace(b"/healthz", b"/-/ready"))
    gate.wait_entered()
    gate.open()
    assert [client.reply().body for _ in range(3)] == [b"done\n", b"ok\n", b"ready\n"]


def test_a_hundred_requests_sent_at_once_are_all_answered(serve: Serve, connect: Connect) -> None:
    client = connect(serve()).send(GET * 100)
    assert [client.reply().status for _ in range(100)] == [200] * 100


def test_a_request_byte_by_byte_is_read(serve: Serve, connect: Connect) -> None:
    client = connect(serve())
    for byte in GET:
        client.send(bytes([byte]))
    assert client.reply().body == b"ok\n"


def test_http_1_0_is_answered_and_closed(serve: Serve, connect: Connect) -> None:
    client = connect(serve()).send(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert client.reply().body == b"ok\n"
    assert client.rest() == b""


def test_connection_close_is_obeyed_whatever_follows(serve: Serve, connect: Connect) -> None:
    client = connect(serve()).send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
    reply = client.reply()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert client.rest() == b""


def test_bytes_after_a_last_request_do_not_spoil_its_answer(
    serve: Serve, connect: Connect, gate: Any
) -> None:
    server = serve(render=gate.render)
    client = connect(server).send(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    gate.wait_entered()
    client.send(GET)
    # Whatever is asked later is also read later.
    assert connect(server).get("/healthz").status == 200
    gate.open()
    assert client.reply().body == b"done\n"
    assert client.rest() == b""


def test_a_refused_upload_is_taken_until_its_refusal_is_read(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Limits(body_bytes=200_000, linger_seconds=20)))
    client.send(CHUNKED + b"%x\r\n" % 4_000_000 + bytes(4_000_000))
    assert client.reply().status == 413


@pytest.mark.parametrize("path", ["/log_level", "/metrics", "/nope"])
def test_a_request_inside_a_body_is_not_answered(serve: Serve, connect: Connect, path: str) -> None:
    client = connect(serve())
    first = client.put(path, GET, method="POST")
    assert first.status in (404, 405)
    assert client.get("/-/ready").body == b"ready\n"


def test_a_request_inside_a_chunked_body_is_not_answered(serve: Serve, connect: Connect) -> None:
    client = connect(serve())
    client.send(CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(GET), GET))
    assert client.reply().status == 403
    assert client.get("/-/ready").body == b"ready\n"


def test_a_chunked_body_is_read(serve: Serve, connect: Connect) -> None:
    levels: list[str] = []
    client = connect(serve(lifecycle=True, set_log_level=levels.append))
    client.send(CHUNKED + b"3\r\nlev\r\n8;x=y\r\nel=debug\r\n0\r\n\r\n")
    assert (client.reply().status, levels) == (200, ["debug"])


def test_the_largest_allowed_body_is_read(serve: Serve, connect: Connect) -> None:
    levels: list[str] = []
    client = connect(serve(lifecycle=True, set_log_level=levels.append))
    body = b"level=debug&x=".ljust(64 * 1024, b"y")
    assert (client.put("/log_level", body).status, levels) == (200, ["debug"])
    assert client.put("/log_level", body + b"y").status == 413


def test_expect_100_continue_is_told_to_continue(serve: Serve, connect: Connect) -> None:
    levels: list[str] = []
    client = connect(serve(lifecycle=True, set_log_level=levels.append))
    client.send(b"PUT /log_level HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n")
    assert client.reply().status == 100
    client.send(b"level=debug")
    assert (client.reply().status, levels) == (200, ["debug"])


def test_expect_100_continue_with_too_much_is_refused_at_once(serve: Serve, connect: Connect) -> None:
    client = connect(serve())
    client.send(
        b"PUT /log_level HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n\r\n"
    )
    assert client.reply().status == 413


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_upgrade_is_ignored(serve: Serve, connect: Connect, protocol: bytes) -> None:
    client = connect(serve()).send(
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" + GET
    )
    assert [client.reply().status, client.reply().status] == [200, 200]


def test_a_half_closed_connection_gets_its_replies(serve: Serve, connect: Connect, gate: Any) -> None:
    client = connect(serve(render=gate.render))
    client.send(GET.replace(b"/healthz", b"/metrics") + GET)
    client.sock.shutdown(socket.SHUT_WR)
    gate.wait_entered()
    gate.open()
    assert [client.reply().body, client.reply().body] == [b"done\n", b"ok\n"]
    assert client.rest() == b""


@pytest.mark.parametrize(
    "data", [b"", b"GET / HT", b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"]
)
def test_half_a_request_and_an_end_is_closed(serve: Serve, connect: Connect, data: bytes) -> None:
    client = connect(serve()).send(data)
    client.sock.shutdown(socket.SHUT_WR)
    assert client.rest() == b""


def test_the_target_is_decoded_before_it_is_routed(serve: Serve, connect: Connect) -> None:
    assert connect(serve()).get("/%6detrics").body.startswith(b"TEXT")


def test_a_large_body_arrives_whole(serve: Serve, connect: Connect) -> None:
    body = b"0123456789abcdef" * (20 * 1024 * 1024 // 16) + b"end"
    client = connect(serve(render=lambda *args: [body]))
    assert client.get("/metrics").body == body
    head = client.get("/metrics", method="HEAD")
    assert head.headers["content-length"] == str(len(body))
    assert client.get("/healthz").body == b"ok\n"
