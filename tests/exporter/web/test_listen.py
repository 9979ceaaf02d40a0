from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from exporter.errors import ConfigError, ExporterError
from exporter.web import listen
from exporter.web.listen import address_of, bind


def _close(sockets: list[socket.socket]) -> list[tuple[str, int]]:
    places = [one.getsockname()[:2] for one in sockets]
    for one in sockets:
        one.close()
    return places


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("127.0.0.1:0", {"127.0.0.1"}),
        ("[::1]:0", {"::1"}),
        (":0", {"::", "0.0.0.0"}),
        ("localhost:0", {"127.0.0.1", "::1"}),
    ],
)
def test_addresses_are_bound_as_written(address: str, hosts: set[str]) -> None:
    places = _close(bind([address]))
    assert places
    assert {host for host, _ in places} <= hosts
    assert all(port > 0 for _, port in places)


def test_every_address_means_ipv4_too() -> None:
    sockets = bind([":0"])
    socket.create_connection(("127.0.0.1", sockets[0].getsockname()[1]), timeout=10).close()
    _close(sockets)


def test_several_addresses_are_bound_in_order() -> None:
    places = _close(bind(["127.0.0.1:0", "127.0.0.2:0"]))
    assert [host for host, _ in places] == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "9101",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:http",
        "127.0.0.1:70000",
        "::1:9101",
        "[::1]",
        "a:-1",
        "a:٣",
    ],
)
def test_an_unreadable_address_is_explained(address: str) -> None:
    with pytest.raises(ExporterError, match=r"it must be host:port, such as 127\.0\.0\.1:9101"):
        bind([address])


def test_a_port_in_use_is_one_sentence_before_any_thread_and_leaves_nothing_open() -> None:
    taken = bind(["127.0.0.1:0"])
    port = taken[0].getsockname()[1]
    free = bind(["127.0.0.2:0"])
    other = free[0].getsockname()[1]
    _close(free)
    threads = set(threading.enumerate())
    with pytest.raises(ExporterError) as caught:
        bind([f"127.0.0.2:{other}", f"127.0.0.1:{port}"])
    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port}: the port is already in use"
    assert not isinstance(caught.value, ConfigError)
    assert set(threading.enumerate()) <= threads
    _close(bind([f"127.0.0.2:{other}"]))
    _close(taken)


def test_an_address_of_another_machine_is_explained() -> None:
    with pytest.raises(ExporterError, match="this machine does not have that address"):
        bind(["192.0.2.1:0"])


def test_an_unknown_name_is_explained() -> None:
    with pytest.raises(ExporterError, match="the host name is unknown"):
        bind([f"{'a' * 64}.invalid:0"])


def test_without_ipv6_every_address_is_every_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    original = listen._listen

    def without_ipv6(family: int, place: tuple[object, ...]) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported")
        return original(family, place)

    monkeypatch.setattr(listen, "_listen", without_ipv6)
    assert [host for host, _ in _close(bind([":0"]))] == ["0.0.0.0"]


# -- addresses of our own that overlap


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", ""),
        ("[::1]", "[::]"),
        ("[::]", "[::1]"),
        ("", "[::]"),
        ("[::]", "0.0.0.0"),
    ],
)
def test_two_addresses_of_ours_that_overlap_are_told_as_such(first: str, second: str) -> None:
    held = bind([f"{first}:0"])
    port = held[0].getsockname()[1]
    shown = address_of(held[0])
    _close(held)
    with pytest.raises(ExporterError) as caught:
        bind([f"{first}:{port}", f"{second}:{port}"])
    assert str(caught.value) == (
        f"cannot listen on {second}:{port}: it overlaps with {shown}, where this program listens already"
    )
    _close(bind([f"{second}:{port}"]))


def test_a_port_that_a_stranger_has_is_not_called_ours() -> None:
    stranger = bind(["127.0.0.1:0"])
    port = stranger[0].getsockname()[1]
    with pytest.raises(ExporterError, match=r"the port is already in use$"):
        bind([f"127.0.0.2:{port}", f"[::1]:{port}", f"127.0.0.1:{port}"])
    _close(stranger)


def test_an_ipv6_address_may_name_its_interface() -> None:
    with pytest.raises(
        ExporterError, match=r"cannot listen on \[fe80::1%nosuch0\]:0: the host name is unknown"
    ):
        bind(["[fe80::1%nosuch0]:0"])


def test_ipv4_and_ipv6_share_a_port_when_both_are_written() -> None:
    first = bind(["127.0.0.1:0"])
    port = first[0].getsockname()[1]
    second = bind([f"[::1]:{port}"])
    assert [address_of(one) for one in first + second] == [f"127.0.0.1:{port}", f"[::1]:{port}"]
    _close(first + second)


# -- Unix sockets


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a socket can be; the path is short enough."""
    folder = tmp_path_factory.mktemp("u")
    assert len(bytes(folder)) < 90
    return folder / "m.sock"


def _reach(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_a_unix_socket_is_for_user_and_group_whatever_the_umask(place: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        sockets = bind([f"unix:{place}"])
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o660
    assert address_of(sockets[0]) == f"unix:{place}"
    assert not sockets[0].getblocking()
    _reach(place)
    sockets[0].close()
    assert not place.exists()
    sockets[0].close()


def _leave_behind(path: Path) -> int:
    """A socket file that nobody listens on, as kill -9 leaves it; its inode."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    return path.stat().st_ino


def test_a_socket_that_nobody_listens_on_is_replaced(place: Path) -> None:
    _leave_behind(place)
    sockets = bind([f"unix:{place}"])
    _reach(place)
    sockets[0].close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_a_socket_that_somebody_listens_on_stays(place: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(place))
        if kind != socket.SOCK_DGRAM:
            other.listen()
        with pytest.raises(ExporterError) as caught:
            bind([f"unix:{place}"])
        assert place.is_socket()
    assert str(caught.value) == f"cannot listen on unix:{place}: another process listens there"


def test_a_socket_whose_queue_is_full_is_somebodys(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(place))
        other.listen(0)
        client.connect(str(place))
        with pytest.raises(ExporterError, match="another process listens there"):
            bind([f"unix:{place}"])


def test_another_file_of_that_name_stays(place: Path) -> None:
    target = place.with_name("target")
    _leave_behind(target)
    for make in (lambda: place.write_text("precious"), place.mkdir, lambda: place.symlink_to(target)):
        make()
        with pytest.raises(ExporterError, match="a file that is no socket has that name; remove it"):
            bind([f"unix:{place}"])
        assert place.is_symlink() or place.exists()
        place.rename(place.with_name(f"kept-{len(list(place.parent.iterdir()))}"))
    assert target.is_socket()


def test_a_folder_that_is_missing_is_told(place: Path) -> None:
    with pytest.raises(ExporterError, match="the folder of that socket does not exist"):
        bind([f"unix:{place.parent}/missing/m.sock"])
    place.write_text("")
    with pytest.raises(ExporterError, match="the folder of that socket is no folder"):
        bind([f"unix:{place}/m.sock"])


def test_a_socket_that_cannot_be_made_private_does_not_stay(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(ExporterError, match="this user may not make a socket there"):
        bind([f"unix:{place}"])
    assert not place.exists()


def test_a_path_that_is_too_long_is_told(place: Path) -> None:
    with pytest.raises(
        ExporterError, match=r"cannot listen on 'unix:/.*': it must have a path of at most 107 bytes"
    ):
        bind([f"unix:{place}{'x' * 107}"])


def test_closing_leaves_the_file_of_whoever_came_after(place: Path) -> None:
    first = bind([f"unix:{place}"])
    place.unlink()
    second = bind([f"unix:{place}"])
    first[0].close()
    _reach(place)
    place.unlink()
    place.write_text("precious")
    second[0].close()
    assert place.read_text() == "precious"


def test_a_file_that_is_gone_does_not_hinder_closing(place: Path) -> None:
    sockets = bind([f"unix:{place}"])
    place.unlink()
    sockets[0].close()
    assert sockets[0].fileno() == -1


def test_a_refusal_takes_the_files_of_earlier_sockets_along(place: Path) -> None:
    taken = bind(["127.0.0.1:0"])
    with pytest.raises(ExporterError, match="already in use"):
        bind([f"unix:{place}", address_of(taken[0])])
    assert not place.exists()
    _close(taken)


def test_of_two_that_start_at_once_on_a_stale_socket_one_gets_it(place: Path) -> None:
    won: list[socket.socket] = []
    lost: list[str] = []
    for _ in range(20):
        _leave_behind(place)
        start = threading.Barrier(2)

        def take(start: threading.Barrier = start) -> None:
            start.wait(10)
            try:
                won.extend(bind([f"unix:{place}"]))
            except ExporterError as error:
                lost.append(str(error))

        threads = [threading.Thread(target=take) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == len(lost) == 1
        assert "another process listens there" in lost[0]
        _reach(place)
        won.pop().close()
        lost.clear()


def test_a_stranger_who_locks_the_folder_does_not_keep_us_out(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "_LOCK_PAUSE_SECONDS", 0)
    held = os.open(place.parent, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    bind([f"unix:{place}"])[0].close()
    os.close(held)


def test_accepted_connections_send_small_packets_at_once() -> None:
    # What asyncio looks at before it sets TCP_NODELAY on what it accepts.
    opened = bind(["127.0.0.1:0", "[::1]:0"])
    assert [one.proto for one in opened] == [socket.IPPROTO_TCP, socket.IPPROTO_TCP]
    _close(opened)
