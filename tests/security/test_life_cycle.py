"""Start, reload and stop of the program while somebody makes trouble."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack

from tests.security.conftest import MakeTarget
from tests.security.test_syntax import REFUSED
from tests.support.attack import Target
from tests.support.process import ROOT, wait_until
from tests.support.wire import HEALTH, SCRAPE, Wire

STOP_SECONDS = 5.0
SLACK = 15.0
"""Seconds that a busy machine may add."""


def _refuses(target: Target) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", target.port)) != 0


def test_a_port_in_use_is_one_sentence_and_exit_1(make_target: MakeTarget) -> None:
    first = make_target(name="first").start().wait_built()
    second = make_target(name="second", addr=f"127.0.0.1:{first.port}").start()
    assert second.process.wait(60) == 1
    said = second.log_path.read_text().strip()
    assert said.endswith(f"cannot listen on 127.0.0.1:{first.port}: the port is already in use")
    assert len(said.splitlines()) == 1
    assert first.ask("/healthz").status == 200


def test_an_address_that_cannot_be_is_refused_in_one_sentence(make_target: MakeTarget) -> None:
    addresses = {"192.0.2.1:9101": 1, "nowhere": 2, "127.0.0.1:99999": 2, "[::1:9101": 2}
    targets = [
        make_target(name=f"target-{number}", addr=address).start() for number, address in enumerate(addresses)
    ]
    for target, (address, code) in zip(targets, addresses.items(), strict=True):
        assert target.process.wait(60) == code
        said = target.log_path.read_text().strip()
        assert len(said.splitlines()) == 1
        assert address in said or "metrics.addr" in said


def test_ipv6_and_ipv4_are_served_by_one_process(make_target: MakeTarget) -> None:
    target = make_target()
    target.configure(addr=[f"[::1]:{target.port}", f"127.0.0.1:{target.port}"])
    target.start().wait_built()
    with Wire(socket.create_connection(("::1", target.port), timeout=30)) as wire:
        assert wire.ask("/metrics?collect[]=gate").status == 200
    assert target.ask("/healthz").status == 200


def test_a_unix_socket_is_served_as_strictly_as_a_port_and_gone_after_the_stop(
    make_target: MakeTarget,
) -> None:
    target = make_target()
    place = target.folder / "metrics.sock"
    target.configure(addr=[f"127.0.0.1:{target.port}", f"unix:{place}"])
    target.start().wait_built()

    def wire() -> Wire:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(place))
        return Wire(sock)

    assert place.stat().st_mode & 0o007 == 0
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(wire())
        with wire() as scraper:
            assert scraper.ask("/metrics").status == 200
    for status, data in REFUSED.values():
        with wire() as attacker:
            assert attacker.send(data).reply().status == status
    assert target.terminate(30) == 0
    assert not place.exists()


def test_a_socket_of_systemd_is_served_and_outlives_the_stop(make_target: MakeTarget) -> None:
    target = make_target()
    with socket.create_server(("127.0.0.1", target.port)) as bound:
        launcher = [
            sys.executable,
            str(ROOT / "tests/support/activate.py"),
            "metrics",
            str(bound.fileno()),
            "--",
        ]
        for _ in range(2):
            # Nobody is refused before the start or between two: whoever comes waits.
            with target.wire() as waiting:
                waiting.send(HEALTH)
                target.start("--web.systemd-socket", launcher=launcher, pass_fds=[bound.fileno()])
                assert waiting.reply().body == b"ok\n"
            assert target.terminate(30) == 0


def test_sigterm_lets_the_scrape_in_flight_finish_and_cuts_who_only_holds_on(make_target: MakeTarget) -> None:
    target = make_target(bricks=41_000).start().wait_built()
    with ExitStack() as stack:
        idle = stack.enter_context(target.wire())
        assert idle.ask("/healthz").status == 200
        slow = [stack.enter_context(target.wire()).send(b"GET / HTTP/1.1\r\nX: ") for _ in range(20)]
        deaf = [stack.enter_context(target.wire(4096)).send(SCRAPE) for _ in range(5)]
        for wire in deaf:
            wire.sock.recv(1, socket.MSG_PEEK)
        target.gate.touch()
        scrape = stack.enter_context(target.wire()).send(SCRAPE)
        wait_until(target.knocked.exists, "the scrape is in flight")
        started = time.monotonic()
        target.signal(signal.SIGTERM)
        wait_until(lambda: _refuses(target), "new connections are refused")
        assert [wire.rest() for wire in (idle, *slow)] == [b""] * 21
        target.gate.unlink()
        assert len(scrape.reply().body) > 5_000_000
        assert scrape.rest() == b""
        assert target.process.wait(30) == 0
        assert time.monotonic() - started < STOP_SECONDS + SLACK
    target.start().wait_built()


def test_a_scrape_that_never_ends_does_not_hold_up_the_stop(make_target: MakeTarget) -> None:
    target = make_target().start().wait_built()
    target.gate.touch()
    with target.wire() as wire:
        wire.send(SCRAPE)
        wait_until(target.knocked.exists, "the scrape is in flight")
        started = time.monotonic()
        target.signal(signal.SIGTERM)
        assert target.process.wait(30) == 0
        assert time.monotonic() - started < STOP_SECONDS + SLACK
        assert wire.rest() == b""
    target.gate.unlink()


def test_a_second_sigterm_changes_nothing(make_target: MakeTarget) -> None:
    target = make_target(measured=True).start().wait_built()
    target.gate.touch()
    with target.wire() as wire:
        wire.send(SCRAPE)
        wait_until(target.knocked.exists, "the scrape is in flight")
        target.signal(signal.SIGTERM)
        wait_until(lambda: _refuses(target), "new connections are refused")
        target.signal(signal.SIGTERM)
        target.signal(signal.SIGINT)
        target.gate.unlink()
        assert wire.reply().status == 200
    assert target.process.wait(30) == 0
    assert "Traceback" not in target.log_path.read_text()


def test_sighup_under_load_fails_no_request(make_target: MakeTarget) -> None:
    target = make_target(bricks=2_000, lifecycle=True, measured=True).start().wait_built()
    good = target.config_path.read_text()
    over = threading.Event()
    statuses: list[int] = []

    def load() -> None:
        with target.wire() as wire:
            while not over.is_set():
                statuses.append(wire.ask("/metrics").status)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(6):
            target.config_path.write_text(good if turn % 2 else "collectors: [not, a, mapping")
            before = target.log_path.read_text().count("reload")
            target.signal(signal.SIGHUP)
            wait_until(lambda before=before: target.log_path.read_text().count("reload") > before, "told")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert target.ask("/metrics?collect[]=wall").body.count(b"\nwall_brick") == 2_000
    assert target.terminate(30) == 0


def test_a_storm_of_sighups_neither_hangs_nor_kills(make_target: MakeTarget) -> None:
    target = make_target(bricks=10, lifecycle=True).start().wait_built()
    for _ in range(20_000):
        target.signal(signal.SIGHUP)
    assert target.process.poll() is None
    assert target.ask("/healthz").status == 200
    assert target.terminate(30) == 0
    assert "Traceback" not in target.log_path.read_text()
