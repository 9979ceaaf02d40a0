"""Listening sockets, bound by the caller's thread so that a taken port is an error before anything starts."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator, Sequence

from exporter.config.address import Address, HostPort, UnixPath, read_address
from exporter.errors import ExporterError
from exporter.web.limits import BACKLOG

_REASONS = {
    errno.EADDRINUSE: "the port is already in use",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.EACCES: "this user may not listen on that port",
}
_UNIX_REASONS = {
    errno.ENOENT: "the folder of that socket does not exist",
    errno.ENOTDIR: "the folder of that socket is no folder",
    errno.EACCES: "this user may not make a socket there",
    errno.EROFS: "that folder can only be read",
    errno.EPROTOTYPE: "another process listens there",
}
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_ANY_IPV4 = "0.0.0.0"  # noqa: S104 - compared with, not bound
_ANY_IPV6 = "::"
_SOCKET_MODE = 0o660
_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 50, 0.02

Place = tuple[object, ...]
"""An address as the socket module takes it: host, port, and two numbers more for IPv6."""


def bind(addresses: Sequence[str], beside: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """Listening sockets for *addresses*, in the order given.

    They are written ``127.0.0.1:9101``, ``[::1]:9101``, ``localhost:9101``, ``:9101`` or
    ``unix:/path/to.sock``. ``:9101`` is every address of the machine, IPv4 and IPv6. A name gives one
    socket per address it stands for. The file of a Unix socket goes when the socket is closed. *beside* are
    sockets of ours that listen already, to tell them from those of a stranger.

    Raises:
        ExporterError: an address cannot be read or taken; none of the sockets stays open then.
    """
    return [one for sockets in bind_each(addresses, beside) for one in sockets]


def bind_each(addresses: Sequence[str], beside: Sequence[socket.socket] = ()) -> list[list[socket.socket]]:
    """As :func:`bind`, with the sockets of each address by themselves."""
    bound: list[list[socket.socket]] = []
    try:
        for address in addresses:
            bound.append(_bind_one(address, [*beside, *(one for sockets in bound for one in sockets)]))
    except BaseException:
        for sockets in bound:
            close_all(sockets)
        raise
    return bound


def parse(address: str) -> Address:
    """What *address* names.

    Raises:
        ExporterError: nobody can listen there.
    """
    try:
        return read_address(address)
    except ValueError as exc:
        raise ExporterError(f"cannot listen on {address!r}: it {exc}") from None


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close *sockets*."""
    for one in sockets:
        one.close()


def address_of(bound: socket.socket) -> str:
    """Where *bound* listens, as it would be written in the configuration."""
    name = bound.getsockname()
    if isinstance(name, bytes):  # without a file; only systemd makes those
        return f"unix:@{os.fsdecode(name[1:])}"
    if isinstance(name, str):
        return f"unix:{name}"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind_one(address: str, earlier: Sequence[socket.socket]) -> list[socket.socket]:
    parsed = parse(address)
    if isinstance(parsed, UnixPath):
        return [_listen_on_file(address, parsed.path)]
    if not parsed.host:
        return [_listen_anywhere(address, parsed.port, earlier)]
    opened: list[socket.socket] = []
    refused: ExporterError | None = None
    for family, place in _resolve(address, parsed):
        try:
            opened.append(_listen(family, place))
        except OSError as exc:
            refused = _refusal(address, exc, place, earlier)
            if exc.errno not in _NO_IPV6:
                close_all(opened)
                raise refused from exc
    if not opened and refused is not None:
        raise refused
    return opened


# -- ports -----------------------------------------------------------------------------------------


def _resolve(address: str, parsed: HostPort) -> list[tuple[int, Place]]:
    """The families and socket addresses that the host stands for, each once."""
    try:
        found = socket.getaddrinfo(parsed.host, parsed.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as exc:
        raise ExporterError(f"cannot listen on {address}: the host name is unknown") from exc
    return list(dict.fromkeys((int(family), place) for family, _, _, _, place in found))


def _listen_anywhere(address: str, port: int, earlier: Sequence[socket.socket]) -> socket.socket:
    try:
        return _listen(socket.AF_INET6, (_ANY_IPV6, port))
    except OSError as exc:
        if exc.errno not in _NO_IPV6:
            raise _refusal(address, exc, (_ANY_IPV6, port), earlier) from exc
    try:
        return _listen(socket.AF_INET, ("", port))
    except OSError as exc:
        raise _refusal(address, exc, (_ANY_IPV4, port), earlier) from exc


def _listen(family: int, place: Place) -> socket.socket:
    # Named, since asyncio sends small packets at once (TCP_NODELAY) only where it is: without, the head of an
    # answer can wait 40 ms for the client to acknowledge something.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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


def _refusal(address: str, exc: OSError, place: Place, earlier: Sequence[socket.socket]) -> ExporterError:
    ours = [address_of(one) for one in earlier if _overlap(one.getsockname(), place)]
    if exc.errno == errno.EADDRINUSE and ours:
        return ExporterError(
            f"cannot listen on {address}: it overlaps with {ours[0]}, where this program listens already"
        )
    reason = _REASONS.get(exc.errno or 0, (exc.strerror or "the system refused").lower())
    return ExporterError(f"cannot listen on {address}: {reason}")


def _overlap(taken: object, place: Place) -> bool:
    """Whether who listens on *taken* leaves no room for *place*."""
    if not isinstance(taken, tuple) or taken[1] != place[1]:
        return False
    hosts = {str(taken[0]), str(place[0])}
    both_ipv4 = not any(":" in host for host in hosts)
    return len(hosts) == 1 or _ANY_IPV6 in hosts or (both_ipv4 and _ANY_IPV4 in hosts)


# -- Unix sockets ----------------------------------------------------------------------------------


class _SocketFile(socket.socket):
    """A listening Unix socket that removes its file when it is closed, unless that is another's by now."""

    def __init__(self, path: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = path
        self._identity: tuple[int, int] | None = None
        try:
            self.bind(path)
            self._identity = _identity(path)
            # Nobody can connect before listen(), so the mode that the umask gave lets nobody in.
            os.chmod(path, _SOCKET_MODE)
            self.listen(BACKLOG)
            self.setblocking(False)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the file and close the socket."""
        mine, self._identity = self._identity, None
        # While the socket is open the system cannot give its file's number to another file.
        with contextlib.suppress(OSError):
            if mine is not None and mine == _identity(self._path):
                os.unlink(self._path)
        super().close()


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _listen_on_file(address: str, path: str) -> socket.socket:
    try:
        with _alone_in(os.path.dirname(path)):
            problem = _make_room(path)
            if problem is None:
                return _SocketFile(path)
    except OSError as exc:
        problem = _UNIX_REASONS.get(exc.errno or 0, (exc.strerror or "the system refused").lower())
    raise ExporterError(f"cannot listen on {address}: {problem}")


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Keep another of our processes from replacing the same left-over socket at the same moment."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE_SECONDS)
        # Whoever holds it that long is none of us, who hold it for a moment: go on without.
        yield
    finally:
        os.close(descriptor)


def _make_room(path: str) -> str | None:
    """Remove the socket that a killed process left at *path*; what stands in the way, if it must stay."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISSOCK(mode):
        return "a file that is no socket has that name; remove it, or choose another path"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return None
        except BlockingIOError:
            pass  # a queue that is full is somebody's queue
    return "another process listens there"
