"""Sockets that systemd bound for us: the protocol of sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping, MutableMapping
from contextlib import ExitStack

from exporter.errors import ExporterError

FIRST_DESCRIPTOR = 3
_PID, _COUNT, _NAMES = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"
_VARIABLES = (_PID, _COUNT, _NAMES, "LISTEN_PIDFDID")
_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


def passed_sockets(
    environ: MutableMapping[str, str], first: int = FIRST_DESCRIPTOR
) -> list[tuple[str, socket.socket]]:
    """The listening sockets that systemd passed, each with the name that its unit gave it, in order.

    The name is that of the unit itself unless it has ``FileDescriptorName=``. The variables are removed
    from *environ*, and child processes get neither them nor the sockets.

    Raises:
        ExporterError: systemd passed none, or something that nobody can listen on.
    """
    told = {name: environ.pop(name, "") for name in _VARIABLES}
    if told[_COUNT] and told[_PID] != str(os.getpid()):
        raise ExporterError(
            "systemd passed its sockets to another process: a script that starts the exporter must do it"
            " with exec"
        )
    count = int(told[_COUNT]) if told[_COUNT].isascii() and told[_COUNT].isdigit() else 0
    if not count:
        raise ExporterError(
            "systemd passed no socket: start the socket unit (systemctl start ci-exporter.socket), or leave"
            " out metrics.systemd_socket and --web.systemd-socket"
        )
    names = told[_NAMES].split(":") + [""] * count
    with ExitStack() as undo:
        sockets = [undo.enter_context(_adopt(first + index)) for index in range(count)]
        undo.pop_all()
    return list(zip(names, sockets, strict=False))


def are_passed(environ: Mapping[str, str]) -> bool:
    """Whether systemd passed sockets to this process that nobody took yet."""
    return bool(environ.get(_COUNT)) and environ.get(_PID) == str(os.getpid())


def _adopt(descriptor: int) -> socket.socket:
    """The socket behind *descriptor*, ours from now on."""
    try:
        is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError as exc:
        raise _refusal(descriptor, "is not open") from exc
    if not is_socket:
        raise _refusal(descriptor, "is no socket")
    adopted = socket.socket(fileno=descriptor)
    problem = None
    if adopted.type != socket.SOCK_STREAM or adopted.family not in _FAMILIES:
        problem = "is no stream socket of IPv4, IPv6 or Unix: use ListenStream="
    elif not adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        problem = "does not listen: use Accept=no"
    if problem is not None:
        adopted.close()
        raise _refusal(descriptor, problem)
    # Non-blocking, since a client may be gone again before it is accepted.
    adopted.setblocking(False)
    adopted.set_inheritable(False)
    return adopted


def _refusal(descriptor: int, problem: str) -> ExporterError:
    return ExporterError(f"file descriptor {descriptor} that systemd passed {problem}")
