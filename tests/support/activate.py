"""Starts a program as systemd starts the service of a socket unit: ``activate.py NAMES FD… -- COMMAND…``."""

from __future__ import annotations

import fcntl
import os
import sys

_FIRST = 3


def main(names: str, descriptors: list[int], command: list[str]) -> None:
    """Become *command*, with *descriptors* as file descriptors 3, 4, …"""
    # Out of the way first: one of them may be where another must go.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 100) for descriptor in descriptors]
    for offset, descriptor in enumerate(high):
        os.dup2(descriptor, _FIRST + offset)
    told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(descriptors)), "LISTEN_FDNAMES": names}
    os.execve(command[0], command, {**os.environ, **told})


if __name__ == "__main__":
    end = sys.argv.index("--")
    main(sys.argv[1], [int(text) for text in sys.argv[2:end]], sys.argv[end + 1 :])
