"""The porter: a process of its own that receives hooks, so that no round holds up an acknowledgement."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

from exporter.hookmetrics import HookMetrics, Result

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 2.0
_STOP, _RELOAD = b'{"stop": true}\n', b'{"reload": true}\n'


class Porter:
    """Starts the process on *sockets*, which stay ours as well, and starts it again if it ends.

    *source* tells it where the configuration comes from. It says what it counts, for *metrics*, and *bell* is
    rung when it kept hooks. It ends with us, however we end: its standard input ends then.
    """

    def __init__(
        self,
        source: Mapping[str, Any],
        sockets: Sequence[socket.socket],
        metrics: HookMetrics,
        bell: threading.Event,
    ) -> None:
        self._source = source
        self._sockets = sockets
        self._metrics = metrics
        self._bell = bell
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._reloaded = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._counted: dict[tuple[str, str], int] = {}
        self._thread = threading.Thread(target=self._run, name="hooks-porter", daemon=True)

    def start(self) -> None:
        """Have hooks received; those that come before the process is ready wait in the sockets."""
        self._thread.start()

    def reload(self, seconds: float) -> bool:
        """Have the configuration read anew; true if that was done within *seconds*."""
        self._reloaded.clear()
        self._say(_RELOAD)
        return self._reloaded.wait(seconds)

    def stop(self, seconds: float) -> bool:
        """End the process once it has answered whom it can; true if it ended within *seconds*."""
        self._stopping.set()
        self._say(_STOP)
        self._thread.join(seconds)
        if self._thread.is_alive() and self._process is not None:
            self._process.kill()
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _say(self, order: bytes) -> None:
        with self._turn, suppress(OSError, ValueError):
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.write(order)
                self._process.stdin.flush()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                process = self._begin()
            except OSError as error:
                # No memory, or too many processes: that passes.
                log.error(  # noqa: TRY400 - the error says it all
                    "the process that receives hooks cannot be started, which is tried again",
                    extra={"error": error.strerror or str(error)},
                )
                self._stopping.wait(_AGAIN_SECONDS)
                continue
            with process:
                self._hear(process)
            if not self._stopping.is_set():
                log.error(
                    "the process that receives hooks ended, and is started again",
                    extra={"code": process.returncode},
                )
                self._stopping.wait(_AGAIN_SECONDS)

    def _begin(self) -> subprocess.Popen[bytes]:
        descriptors = [one.fileno() for one in self._sockets]
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter.hookprocess"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=descriptors,
            # Whoever presses Ctrl-C means us: we tell it when to end.
            process_group=0,
        )
        with self._turn:
            self._process, self._counted = process, {}
        first = {**self._source, "descriptors": descriptors, "parent": os.getpid()}
        self._say(json.dumps(first, default=str).encode() + b"\n")
        if self._stopping.is_set():
            self._say(_STOP)
        return process

    def _hear(self, process: subprocess.Popen[bytes]) -> None:
        """Book what the process says, until it ends."""
        for line in cast("Any", process.stdout):
            try:
                self._book(json.loads(line))
            except (ValueError, KeyError, TypeError):
                log.exception("the process that receives hooks said something odd")

    def _book(self, said: Mapping[str, Any]) -> None:
        for collector, result, hooks in said.get("counts", ()):
            before = self._counted.get((collector, result), 0)
            self._counted[collector, result] = hooks
            self._metrics.count(collector, Result(result), hooks - before)
        for collector, moment in said.get("last", ()):
            self._metrics.received(collector, datetime.fromtimestamp(moment, UTC))
        if said.get("reloaded"):
            self._reloaded.set()
        self._bell.set()
