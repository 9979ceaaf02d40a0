"""Bytes that are no proper request, or nearly none."""

from __future__ import annotations

import http.client

import pytest

from tests.support.attack import Target
from tests.support.wire import HEALTH, HOST

GET = b"GET /healthz HTTP/1.1\r\n"
PUT = b"PUT /log_level HTTP/1.1\r\n" + HOST
CHUNKED = PUT + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "a header of 70 KB": (431, GET + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n"),
    "a header of 1 MB": (431, GET + HOST + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n"),
    "5,000 headers": (431, GET + HOST + b"X: y\r\n" * 5000 + b"\r\n"),
    "an endless line": (431, GET + HOST + b"a" * 200_000),
    "a query of 100 KB": (414, b"GET /metrics?" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a query of 2 MB": (414, b"GET /metrics?" + b"a" * 2_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "an endless request line": (414, b"GET /" + b"a" * 200_000),
    "garbage": (400, b"\xde\xad\xbe\xef garbage\r\n\r\n"),
    "raw invalid UTF-8 in the path": (400, b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n"),
    "NUL in the path": (400, b"GET /healthz\x00 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a blank in the path": (400, b"GET /health z HTTP/1.1\r\n" + HOST + b"\r\n"),
    "HTTP/0.9": (400, b"GET /healthz\r\n"),
    "HTTP/3.7": (400, b"GET /healthz HTTP/3.7\r\n" + HOST + b"\r\n"),
    "HTTP/2.0": (400, b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n"),
    "an h2c preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    "a TLS hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
    "no Host": (400, GET + b"\r\n"),
    "two Hosts": (400, GET + HOST + b"Host: other\r\n\r\n"),
    "a Host with a path": (400, GET + b"Host: a/b\r\n\r\n"),
    "CONNECT": (400, b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "an absolute target": (400, b"GET http://a/metrics HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a blank before the colon": (400, GET + HOST + b"X : y\r\n\r\n"),
    "a folded header": (400, GET + HOST + b"X: y\r\n z\r\n\r\n"),
    "a bare LF": (400, GET.replace(b"\r\n", b"\n") + b"Host: a\n\n"),
    "one bare LF": (400, GET + HOST + b"X: y\nZ: z\r\n\r\n"),
    "NUL in a header": (400, GET + HOST + b"X: a\x00b\r\n\r\n"),
    "CR in a header": (400, GET + HOST + b"X: a\rb\r\n\r\n"),
    "a header without a name": (400, GET + HOST + b": y\r\n\r\n"),
    "a Content-Length with Transfer-Encoding": (
        400,
        PUT + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "Transfer-Encoding with a Content-Length": (
        400,
        PUT + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    "two equal Content-Lengths": (400, PUT + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "two Content-Lengths": (400, PUT + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    "a Content-Length list": (400, PUT + b"Content-Length: 3, 3\r\n\r\nabc"),
    "Content-Length -1": (400, PUT + b"Content-Length: -1\r\n\r\n"),
    "Content-Length +3": (400, PUT + b"Content-Length: +3\r\n\r\nabc"),
    "Content-Length 0x3": (400, PUT + b"Content-Length: 0x3\r\n\r\nabc"),
    "Content-Length 3_0": (400, PUT + b"Content-Length: 3_0\r\n\r\nabc"),
    "an empty Content-Length": (400, PUT + b"Content-Length:\r\n\r\n"),
    "Content-Length 10^14": (413, PUT + b"Content-Length: 100000000000000\r\n\r\n"),
    "Content-Length of 5,000 digits": (413, PUT + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"),
    "Transfer-Encoding gzip": (400, PUT + b"Transfer-Encoding: gzip\r\n\r\n"),
    "Transfer-Encoding gzip, chunked": (400, PUT + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "Transfer-Encoding xchunked": (400, PUT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "two Transfer-Encodings": (
        400,
        PUT + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    "Transfer-Encoding in HTTP/1.0": (
        400,
        PUT.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "no chunk size": (400, CHUNKED + b"\r\nabc\r\n"),
    "a chunk size that is no number": (400, CHUNKED + b"zz\r\nabc\r\n"),
    "a negative chunk size": (400, CHUNKED + b"-3\r\nabc\r\n"),
    "a chunk size with 0x": (400, CHUNKED + b"0x3\r\nabc\r\n"),
    "a chunk size of 100 digits": (400, CHUNKED + b"f" * 100 + b"\r\nabc\r\n"),
    "a chunk longer than it says": (400, CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n"),
    "trailers": (400, CHUNKED + b"0\r\nX: y\r\n\r\n"),
    "a chunk of 128 KB": (413, CHUNKED + b"20000\r\n" + b"a" * 0x20000),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_proper_request_is_refused_and_what_follows_it_never_answered(
    target: Target, name: str
) -> None:
    status, data = REFUSED[name]
    with target.wire() as wire:
        # The request behind it is what somebody would smuggle past a proxy.
        reply = wire.send(data + HEALTH).reply()
        assert (reply.status, reply.headers["connection"]) == (status, "close")
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
        assert reply.body.count(b"\n") == 1
        assert wire.rest() == b""


NOT_FOUND = (
    *("/..", "/../../etc/passwd", "/metrics/..", "/metrics/../healthz", "/.%2e/metrics", "/%2e%2e%2fmetrics"),
    *(
        "/%zz",
        "/%",
        "/%f",
        "/%ff%fe",
        "/%c0%ae%c0%ae/",
        "/%00",
        "/metrics%00",
        "/metrics%0d%0aX:y",
        "//metrics",
    ),
    *("/metrics/", "/METRICS", "/metrics;a=b", "/.git/config", "/%252e%252e/", "/\\..\\"),
)


@pytest.mark.parametrize("path", NOT_FOUND)
def test_a_strange_path_is_not_found(target: Target, path: str) -> None:
    with target.wire() as wire:
        reply = wire.ask(path)
        assert reply.status == 404
        assert path.encode() not in reply.raw
        assert wire.ask("/healthz").body == b"ok\n"


@pytest.mark.parametrize(
    "query", ["%zz", "%ff%fe=%fe", "name[]=%00", "name[]=%ff", "&&&=&=", "name[", "a=b;c=d", "?" * 5000]
)
def test_a_strange_query_is_no_error(target: Target, query: str) -> None:
    assert target.ask(f"/healthz?{query}").status == 200
    assert target.ask(f"/metrics?collect[]=gate&{query}").status == 200


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_smuggled_request_in_a_body_is_never_answered(target: Target, version: bytes) -> None:
    smuggled = HEALTH * 3
    put = PUT.replace(b"1.1", version) + b"Content-Length: %d\r\n\r\n" % len(smuggled)
    with target.wire() as wire:
        assert wire.send(put + smuggled).reply().status == 400
        assert wire.half_close().rest() == b""


def test_a_body_that_nobody_reads_is_never_answered(target: Target) -> None:
    # The route is refused, and its body must still be taken for a body.
    post = b"POST /metrics HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(HEALTH)
    with target.wire() as wire:
        assert wire.send(post + HEALTH + HEALTH).reply().status == 405
        assert wire.reply().body == b"ok\n"
        assert wire.half_close().rest() == b""


def test_requests_sent_at_once_are_answered_in_order(target: Target) -> None:
    ready = HEALTH.replace(b"/healthz", b"/-/healthy")
    with target.wire() as wire:
        wire.send((HEALTH + ready) * 50)
        assert [wire.reply().body for _ in range(100)] == [b"ok\n", b"ci-exporter is healthy\n"] * 50


@pytest.mark.parametrize("fields", [b"", b"Connection: keep-alive\r\n", HOST])
def test_http_1_0_is_answered_whole_and_closed(target: Target, fields: bytes) -> None:
    with target.wire() as wire:
        reply = wire.send(b"GET /metrics?collect[]=gate HTTP/1.0\r\n" + fields + b"\r\n").reply()
        assert reply.status == 200
        assert "transfer-encoding" not in reply.headers
        assert reply.body.endswith(b"gate_open 1.0\n")
        assert wire.rest() == b""


def test_head_is_get_without_its_body(target: Target) -> None:
    with target.wire() as wire:
        got = wire.ask("/metrics?collect[]=wall")
        head = wire.ask("/metrics?collect[]=wall", method="HEAD")
        assert int(head.headers["content-length"]) == len(got.body) > 5_000_000
        assert wire.ask("/healthz").body == b"ok\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"])
def test_another_method_is_refused_with_what_is_allowed(target: Target, method: str) -> None:
    for path in ("/metrics", "/healthz", "/"):
        reply = target.ask(path, "X-Secret: echo", method=method)
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
        assert b"echo" not in reply.raw


def test_options_of_everything_is_refused(target: Target) -> None:
    assert target.ask("*", method="OPTIONS").status in (404, 405)


def test_expect_100_continue_is_answered_before_the_body(target: Target) -> None:
    with target.wire() as wire:
        wire.send(PUT + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
        assert wire.reply().status == 100
        assert wire.send(b"level=info").reply().status == 200


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0"])
def test_an_upgrade_is_ignored(target: Target, protocol: str) -> None:
    fields = (f"Upgrade: {protocol}", "Connection: Upgrade", "HTTP2-Settings: AAMAAABkAAQAAP__")
    with target.wire() as wire:
        assert wire.ask("/healthz", *fields, "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==").body == b"ok\n"
        assert wire.ask("/healthz").body == b"ok\n"


def test_a_client_that_says_it_is_done_still_reads_its_reply(target: Target) -> None:
    with target.wire() as wire:
        wire.send(HEALTH.replace(b"/healthz", b"/metrics?collect[]=wall")).half_close()
        assert len(wire.reply().body) > 5_000_000
        assert wire.rest() == b""


@pytest.mark.parametrize("data", [b"", b"GET / HT", GET, PUT + b"Content-Length: 5\r\n\r\nab"])
def test_half_a_request_and_an_end_is_closed_without_an_answer(target: Target, data: bytes) -> None:
    with target.wire() as wire:
        assert wire.send(data).half_close().rest() == b""


def test_no_header_of_a_request_comes_back(target: Target) -> None:
    reply = target.ask(
        "/nothing", "X-Forwarded-Host: evil.example", "Referer: evil.example", "Cookie: evil=1"
    )
    assert reply.status == 404
    assert b"evil" not in reply.raw


def test_what_comes_back_is_typed_and_names_no_software(target: Target) -> None:
    for path in ("/", "/metrics", "/healthz", "/nothing", "/-/ready", "/-/config"):
        reply = target.ask(path)
        assert reply.headers["x-content-type-options"] == "nosniff", path
        assert "charset=utf-8" in reply.headers["content-type"], path
        assert reply.headers.keys() & {"server", "x-powered-by", "via"} == set(), path


def test_a_standard_client_is_content(target: Target) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok\n"
    connection.close()
