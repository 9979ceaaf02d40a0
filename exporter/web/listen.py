"""Listening sockets, bound by the caller's thread so that a taken port is an error before anything starts."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Sequence

from exporter.errors import ExporterError
from exporter.web.limits import BACKLOG

_ADDRESS = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})")
_REASONS = {
    errno.EADDRINUSE: "the port is already in use",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.EACCES: "this user may not listen on that port",
}
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_ANY_IPV6 = "::"


def bind(addresses: Sequence[str]) -> list[socket.socket]:
    """Listening sockets for *addresses*, in the order given.

    They are written ``127.0.0.1:9101``, ``[::1]:9101``, ``localhost:9101`` or ``:9101``. The last one is
    every address of the machine, IPv4 and IPv6. A name gives one socket per address it stands for.

    Raises:
        ExporterError: an address cannot be read or taken; none of the sockets stays open then.
    """
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            sockets += _bind_one(address)
    except BaseException:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _bind_one(address: str) -> list[socket.socket]:
    host, port = _parse(address)
    if not host:
        return [_listen_anywhere(address, port)]
    opened: list[socket.socket] = []
    refused: OSError | None = None
    for family, place in _resolve(address, host, port):
        try:
            opened.append(_listen(family, place))
        except OSError as exc:
            if exc.errno not in _NO_IPV6:
                for earlier in opened:
                    earlier.close()
                raise _refusal(address, exc) from exc
            refused = exc
    if not opened and refused is not None:
        raise _refusal(address, refused) from refused
    return opened


def _parse(address: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match["port"]) > 65535:
        raise ExporterError(
            f"cannot listen on {address!r}: write host:port, such as 127.0.0.1:9101, [::1]:9101 or :9101"
        )
    return match["bracketed"] or match["host"], int(match["port"])


def _resolve(address: str, host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    """The families and socket addresses that *host* stands for, each once."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as exc:
        raise ExporterError(f"cannot listen on {address}: the host name is unknown") from exc
    return list(dict.fromkeys((int(family), place) for family, _, _, _, place in found))


def _listen_anywhere(address: str, port: int) -> socket.socket:
    try:
        return _listen(socket.AF_INET6, (_ANY_IPV6, port))
    except OSError as exc:
        if exc.errno not in _NO_IPV6:
            raise _refusal(address, exc) from exc
    try:
        return _listen(socket.AF_INET, ("", port))
    except OSError as exc:
        raise _refusal(address, exc) from exc


def _listen(family: int, place: tuple[object, ...]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(place[0] != _ANY_IPV6))
        opened.bind(place)
        # With SO_REUSEADDR two sockets may be bound to one port as long as neither listens:
        # only listen() tells for certain that the port is ours.
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


def _refusal(address: str, exc: OSError) -> ExporterError:
    reason = _REASONS.get(exc.errno or 0, (exc.strerror or "the system refused").lower())
    return ExporterError(f"cannot listen on {address}: {reason}")
