"""The protocol of sd_listen_fds: what systemd tells, and what it hands over."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from exporter.errors import ExporterError
from exporter.web.listen import address_of
from exporter.web.systemd import are_passed, passed_sockets

FIRST = 900
"""Far from what the tests have open."""
Pass = Callable[..., dict[str, str]]


@pytest.fixture
def hand_over() -> Iterator[Pass]:
    """Puts descriptors where systemd would, and tells what it would tell."""
    placed: list[int] = []

    def hand_over(*descriptors: int, names: str | None = None, pid: int | None = None) -> dict[str, str]:
        for offset, descriptor in enumerate(descriptors):
            os.dup2(descriptor, FIRST + offset)
            placed.append(FIRST + offset)
        told = {"LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDS": str(len(descriptors)), "HOME": "/"}
        return told if names is None else {**told, "LISTEN_FDNAMES": names}

    yield hand_over
    for descriptor in placed:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _listening(family: int = socket.AF_INET, address: object = ("127.0.0.1", 0)) -> socket.socket:
    made = socket.socket(family)
    made.bind(address)  # type: ignore[arg-type]
    made.listen()
    return made


def test_sockets_come_with_their_names_and_nothing_is_inherited(hand_over: Pass) -> None:
    with _listening() as one, _listening() as two:
        told = hand_over(one.fileno(), two.fileno(), names="metrics:ci-exporter.socket")
        assert are_passed(told)
        passed = passed_sockets(told, FIRST)
        assert [name for name, _ in passed] == ["metrics", "ci-exporter.socket"]
        assert [got.getsockname() for _, got in passed] == [one.getsockname(), two.getsockname()]
        assert told == {"HOME": "/"}
        assert not are_passed(told)
        for _, got in passed:
            assert not got.getblocking()
            assert fcntl.fcntl(got.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
            got.close()


@pytest.mark.parametrize(
    ("names", "expected"), [(None, ["", ""]), ("", ["", ""]), ("a", ["a", ""]), ("a:b:c", ["a", "b"])]
)
def test_missing_names_are_empty(hand_over: Pass, names: str | None, expected: list[str]) -> None:
    with _listening() as one:
        passed = passed_sockets(hand_over(one.fileno(), one.fileno(), names=names), FIRST)
        assert [name for name, _ in passed] == expected
        for _, got in passed:
            got.close()


def test_a_unix_socket_of_systemd_keeps_its_file(
    hand_over: Pass, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    with _listening(socket.AF_UNIX, str(path)) as one:
        [(_, got)] = passed_sockets(hand_over(one.fileno()), FIRST)
        got.close()
    assert path.is_socket()


def test_a_unix_socket_without_a_file_has_an_address(hand_over: Pass) -> None:
    name = f"ci-exporter-{os.getpid()}"
    with _listening(socket.AF_UNIX, f"\0{name}") as one:
        [(_, got)] = passed_sockets(hand_over(one.fileno()), FIRST)
        assert address_of(got) == f"unix:@{name}"
        got.close()


@pytest.mark.parametrize("told", [{}, {"LISTEN_FDS": "0"}, {"LISTEN_FDS": "x"}, {"LISTEN_PID": "1"}])
def test_none_is_an_error_that_says_what_to_do(told: dict[str, str]) -> None:
    told = {"LISTEN_PID": str(os.getpid()), **told}
    with pytest.raises(
        ExporterError, match=r"^systemd passed no socket: start the socket unit .*or leave out"
    ):
        passed_sockets(told, FIRST)
    assert told == {}


def test_sockets_for_another_process_are_left_alone(hand_over: Pass) -> None:
    with _listening() as one:
        told = hand_over(one.fileno(), pid=1)
        assert not are_passed(told)
        with pytest.raises(ExporterError, match=r"to another process: .* with exec$"):
            passed_sockets(told, FIRST)
        os.fstat(FIRST)


def test_what_nobody_can_listen_on_is_refused_and_nothing_stays_open(hand_over: Pass) -> None:
    reading, writing = os.pipe()
    with (
        _listening() as good,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        socket.socket() as silent,
    ):
        for bad, problem in (
            (reading, "is no socket"),
            (datagrams.fileno(), "is no stream socket of IPv4, IPv6 or Unix: use ListenStream="),
            (silent.fileno(), "does not listen: use Accept=no"),
        ):
            with pytest.raises(ExporterError) as caught:
                passed_sockets(hand_over(good.fileno(), bad), FIRST)
            assert str(caught.value) == f"file descriptor {FIRST + 1} that systemd passed {problem}"
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(FIRST)
    os.close(reading)
    os.close(writing)


def test_a_descriptor_that_is_not_there_is_told() -> None:
    told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    with pytest.raises(ExporterError, match=f"file descriptor {FIRST} that systemd passed is not open"):
        passed_sockets(told, FIRST)
