from __future__ import annotations

import errno
import socket
import threading

import pytest

from exporter.errors import ConfigError, ExporterError
from exporter.web import listen
from exporter.web.listen import bind


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
    threads = threading.active_count()
    with pytest.raises(ExporterError) as caught:
        bind([f"127.0.0.2:{other}", f"127.0.0.1:{port}"])
    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port}: the port is already in use"
    assert not isinstance(caught.value, ConfigError)
    assert threading.active_count() == threads
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
