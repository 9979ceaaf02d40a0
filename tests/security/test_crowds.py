"""More connections than the program wants to have."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from exporter.web.limits import DEFAULT_LIMITS
from tests.support.attack import Target
from tests.support.process import wait_until
from tests.support.wire import HEALTH, HOST, SCRAPE, Wire

HALF_HEAD = b"GET /healthz HTTP/1.1\r\nX: "
HALF_BODY = b"PUT /log_level HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nlevel="


def _crowd(target: Target, stack: ExitStack, count: int, first: bytes = b"") -> list[Wire]:
    return [stack.enter_context(target.wire()).send(first) for _ in range(count)]


@pytest.mark.parametrize("first", [b"", HEALTH], ids=["silent", "kept"])
def test_with_500_idle_connections_a_scrape_takes_less_than_a_second(target: Target, first: bytes) -> None:
    before = target.descriptors()
    with ExitStack() as stack:
        _crowd(target, stack, 500, first)
        seconds = []
        while not seconds or (min(seconds) >= 1.0 and len(seconds) < 10):  # on a busy machine, not each is
            started = time.monotonic()
            reply = target.ask("/metrics", "Accept-Encoding: gzip")
            seconds.append(time.monotonic() - started)
            assert (reply.status, reply.headers["content-encoding"]) == (200, "gzip")
        assert min(seconds) < 1.0
    wait_until(lambda: target.descriptors() <= before, "every connection of the crowd is given back")


def test_over_the_cap_who_waited_longest_makes_room_and_nobody_hangs(target: Target) -> None:
    with ExitStack() as stack:
        early = _crowd(target, stack, 10, HALF_HEAD)
        target.ask("/healthz")
        late = _crowd(target, stack, 300)
        assert target.ask("/healthz").body == b"ok\n"
        assert [wire.rest() for wire in early] == [b""] * 10
        # They hold their places, and are served as soon as they ask.
        assert [wire.ask("/healthz").status for wire in late[-100:]] == [200] * 100


def test_over_the_cap_a_scrape_in_flight_is_not_cut(target: Target) -> None:
    with ExitStack() as stack:
        target.gate.touch()
        try:
            scrape = stack.enter_context(target.wire()).send(SCRAPE)
            wait_until(target.knocked.exists, "the scrape is in flight")
            _crowd(target, stack, 600)
        finally:
            target.gate.unlink()
            target.knocked.unlink()
        assert scrape.reply().status == 200


def test_when_every_connection_waits_for_an_answer_the_next_is_told_so(target: Target) -> None:
    with ExitStack() as stack:
        target.gate.touch()
        try:
            busy = _crowd(target, stack, 256, SCRAPE.replace(b"/metrics", b"/metrics?name[]=gate_open"))
            wait_until(target.knocked.exists, "one is in flight")
            wait_until(lambda: target.unread() == 0, "all are in flight")
            refused = stack.enter_context(target.wire()).reply()
        finally:
            target.gate.unlink()
            target.knocked.unlink()
        assert (refused.status, refused.headers["connection"]) == (503, "close")
        assert {wire.reply().status for wire in busy} == {200}
    assert target.ask("/healthz").status == 200


def test_a_thousand_resets_in_the_middle_leave_no_file_and_no_thread(target: Target) -> None:
    with ExitStack() as stack:
        for wire in _crowd(target, stack, 8, SCRAPE):
            wire.reply()
    descriptors, threads = target.descriptors(), target.threads()
    for first in (HALF_BODY, SCRAPE, HALF_HEAD, b"PUT /log_level HTTP/1.1\r\n" + HOST + b"\r\n"):
        for _ in range(250):
            target.wire().send(first).reset()
    assert target.ask("/healthz").status == 200
    wait_until(lambda: target.descriptors() <= descriptors, "no descriptor is left")
    # The threads that render come one by one, and stay.
    wait_until(lambda: target.threads() <= threads + DEFAULT_LIMITS.workers, "no thread is left")


def test_clients_that_leave_in_mid_body_do_not_fill_the_log(target: Target) -> None:
    for _ in range(50):
        wire = target.wire(4096).send(SCRAPE)
        wire.sock.recv(1)
        wire.reset()
    assert target.ask("/healthz").status == 200
    assert '"asyncio"' not in target.log_path.read_text()
