from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.web.limits import Limits
from exporter.web.strict import StrictConnection, check_head

LIMITS = Limits()
GOOD = [
    b"GET / HTTP/1.1\r\nHost: a",
    b"GET / HTTP/1.0",
    b"GET / HTTP/1.1\r\nHost:",
    b"GET / HTTP/1.1\r\nHost: [::1]:9101",
    b"GET /%zz?a=../.. HTTP/1.1\r\nHost: a\r\nX: \ttab and \xc3\xa9\t ",
    b"OPTIONS * HTTP/1.1\r\nHost: a",
    b"PUT /x HTTP/1.1\r\nhOST: a\r\nTransfer-Encoding: Chunked",
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0065536",
]
BAD = {
    b"GET / HTTP/1.1": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a": 400,
    b"GET / HTTP/1.1\r\nHost: a b": 400,
    b"GET / HTTP/1.1\r\nHost: a/b": 400,
    b"GET / HTTP/1.1\r\nHost : a": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\n folded": 400,
    b"GET / HTTP/1.1\r\n Host: a": 400,
    b"GET / HTTP/1.1\nHost: a": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nno colon": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\n: empty": 400,
    b"GET  / HTTP/1.1\r\nHost: a": 400,
    b"GET /a b HTTP/1.1\r\nHost: a": 400,
    b"GET /\xff HTTP/1.1\r\nHost: a": 400,
    b"GET /\x00 HTTP/1.1\r\nHost: a": 400,
    b"GET /": 400,
    b"GET / HTTP/3.7\r\nHost: a": 400,
    b"GET / http/1.1\r\nHost: a": 400,
    b"PRI * HTTP/2.0": 400,
    b"CONNECT a:1 HTTP/1.1\r\nHost: a": 400,
    b"CONNECT / HTTP/1.1\r\nHost: a": 400,
    b"GET http://a/ HTTP/1.1\r\nHost: a": 400,
    b"GET * HTTP/1.1\r\nHost: a": 400,
    b"G\x80T / HTTP/1.1\r\nHost: a": 400,
    b"": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: +3": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length:": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked": 400,
    b"PUT /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked": 400,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 65537": 413,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000000": 413,
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 20000: 413,
    b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a": 414,
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 33000: 431,
    b"GET / HTTP/1.1\r\nHost: a" + b"\r\nX: y" * 100: 431,
}


@pytest.mark.parametrize("head", GOOD)
def test_a_well_formed_head_passes(head: bytes) -> None:
    assert check_head(head, LIMITS) is None


@pytest.mark.parametrize(("head", "status"), BAD.items())
def test_a_malformed_head_is_refused(head: bytes, status: int) -> None:
    refusal = check_head(head, LIMITS)
    assert refusal is not None
    assert refusal.status == status


def test_the_largest_allowed_head_passes() -> None:
    fields = b"\r\nX: y" * 99
    assert check_head(b"GET /" + b"a" * 8191 + b" HTTP/1.1\r\nHost: a" + fields, LIMITS) is None


def test_blanks_without_end_cost_no_time() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX:" + b" " * 30000 + b"\x01"
    refusal = check_head(head, LIMITS)
    assert refusal is not None
    assert refusal.status == 400


_PIECES = st.sampled_from(
    [b"GET", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: a", b"X:", b"\t", b"\x00", b"\x80", b"b"]
)


@given(st.lists(_PIECES, max_size=25).map(b"".join))
@example(b"GET / HTTP/1.1\r\nHost: a\r\nX: b")
def test_h11_reads_in_a_head_that_passed_what_we_read(tail: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a" + tail
    if check_head(head, LIMITS) is not None:
        return
    plain = h11.Connection(h11.SERVER)
    plain.receive_data(head + b"\r\n\r\n")
    event = plain.next_event()
    assert isinstance(event, h11.Request)
    assert len(event.headers) == head.count(b"\r\n")
    assert isinstance(plain.next_event(), h11.EndOfMessage)
    assert plain.trailing_data == (b"", False)


def _first_refusal(data: bytes, step: int) -> int | None:
    """The status that *data* is refused with, coming *step* bytes at a time; ``None`` when it is not."""
    connection = StrictConnection(LIMITS)
    try:
        for start in range(0, len(data), step):
            connection.receive_data(data[start : start + step])
            while connection.next_event() not in (h11.NEED_DATA, h11.PAUSED):
                pass
    except h11.RemoteProtocolError:
        return connection.refusal.status
    return None


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\x00\x01\x02", 400),
        (b"\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\rX", 400),
        (b"GET /\r\n", 400),
        (b"GET /" + b"a" * 20_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, 431),
        (b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n", 400),
        (b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", 400),
        (
            b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n" + b"a" * 66_000,
            413,
        ),
        (
            b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"a" * 1024,
            None,
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ],
)
def test_the_verdict_does_not_depend_on_how_the_bytes_arrive(
    data: bytes, status: int | None, step: int
) -> None:
    assert _first_refusal(data, step) == status


def test_the_second_request_of_a_connection_is_read_as_strictly_as_the_first() -> None:
    connection = StrictConnection(LIMITS)
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n")
    assert isinstance(connection.next_event(), h11.Request)
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.start_next_cycle()
    with pytest.raises(h11.RemoteProtocolError):
        connection.next_event()


def test_a_head_is_written_together_with_what_follows_it() -> None:
    conn = StrictConnection(LIMITS)
    conn.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert isinstance(conn.next_event(), h11.Request)
    assert b" 100 " in (conn.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
    assert conn.send(h11.Response(status_code=200, headers=[("content-length", "2")])) == b""
    written = conn.send(h11.Data(data=b"ab")) or b""
    assert written.startswith(b"HTTP/1.1 200 ")
    assert written.endswith(b"\r\n\r\nab")
    assert conn.send(h11.EndOfMessage()) == b""


def test_a_head_without_a_body_is_written_at_the_end() -> None:
    conn = StrictConnection(LIMITS)
    conn.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(conn.next_event(), h11.Request)
    assert conn.send(h11.Response(status_code=304, headers=[])) == b""
    assert (conn.send(h11.EndOfMessage()) or b"").startswith(b"HTTP/1.1 304 ")
