"""Tells systemd how the service stands: the protocol of sd_notify(3), for units with ``Type=notify``."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, MutableMapping

log = logging.getLogger(__name__)

_SOCKET, _USEC, _PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_SEND_SECONDS = 1.0


class Notifier:
    """The manager that started this process, if it wants to be told; otherwise nothing here does anything.

    ``watchdog_seconds`` is how long it waits for a sign of life before it ends the process; ``None``: it does
    not watch. The variables are removed from *environ*, so that no child process speaks in our name.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address, usec, pid = (environ.pop(name, "") for name in (_SOCKET, _USEC, _PID))
        # A name that begins with @ is in the abstract namespace: no file stands for it.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = pid in ("", str(os.getpid()))
        wanted = int(usec) if ours and usec.isascii() and usec.isdigit() else 0
        self.watchdog_seconds = wanted / 1_000_000 if wanted and address else None
        self._ended = threading.Event()

    def ready(self, status: str) -> None:
        """The service is up, or up again after a reload; *status* is what ``systemctl status`` shows."""
        if not self._ended.is_set():
            self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; :meth:`ready` ends it, also when it was refused."""
        # The moment, so that a READY=1 from before is not taken for the end of this reload.
        moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={moment}")

    def stopping(self) -> None:
        """The service goes down; there are no more signs of life."""
        self._ended.set()
        self._send("STOPPING=1")

    def watch(self, alive: Callable[[float], bool]) -> None:
        """Give a sign of life twice in the time the manager allows, whenever *alive* (in seconds) says so."""
        if self.watchdog_seconds:
            period = self.watchdog_seconds / 2
            threading.Thread(
                target=self._watch, args=(alive, period), name="ci-exporter-watchdog", daemon=True
            ).start()

    def _watch(self, alive: Callable[[float], bool], period: float) -> None:
        while not self._ended.is_set():
            if alive(period / 2):
                self._send("WATCHDOG=1")
            elif not self._ended.is_set():
                log.error("the service hangs: no sign of life for the watchdog")
            self._ended.wait(period)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SEND_SECONDS)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("systemd could not be told", extra={"told": lines[0], "error": str(error)})
