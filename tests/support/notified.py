"""The other end of sd_notify: a real datagram socket that a program tells how it stands."""

from __future__ import annotations

import os
import socket
import tempfile
from types import TracebackType
from typing import Self

from tests.support.process import PATIENCE

_numbers = iter(range(1, 1_000_000))


class Manager:
    """What systemd is to a service with ``Type=notify``; ``address`` is its ``NOTIFY_SOCKET``."""

    def __init__(self, *, abstract: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="notify-")
        name = f"ci-exporter-{os.getpid()}-{next(_numbers)}" if abstract else f"{self._folder.name}/notify"
        self.address = f"@{name}" if abstract else name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}" if abstract else name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._folder.cleanup()

    def next(self, *, but: str = "") -> dict[str, str]:
        """The next message, as ``variable -> value``; those with the variable *but* are passed over."""
        while True:
            self._socket.settimeout(PATIENCE)
            told = self._read()
            if but not in told:
                return told

    def waiting(self) -> list[dict[str, str]]:
        """The messages that nobody read yet."""
        self._socket.settimeout(0)
        found: list[dict[str, str]] = []
        try:
            while True:
                found.append(self._read())
        except BlockingIOError:
            return found

    def _read(self) -> dict[str, str]:
        lines = self._socket.recv(65536).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)  # type: ignore[misc]
