"""The porter: a process of its own that receives hooks, so that no round holds up an acknowledgement."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

from exporter.config.load import Config
from exporter.errors import ConfigError
from exporter.hookmetrics import HookMetrics, Result

log = logging.getLogger(__name__)

_COMMAND = [sys.executable, "-m", "exporter.hookprocess"]
_AGAIN_SECONDS = 2.0
_LOOK_SECONDS = 1.0
# How often we look in vain for a word of it. Looks, not time: in a machine that stood still, none was missed.
_SILENT_LOOKS, _STARTING_LOOKS = 30, 300
_STOP = b'{"stop": true}\n'


def packed(config: Config) -> str:
    """*config* for a process that we start; it holds the secrets.

    Raises:
        ConfigError: a collector's settings are made of what no other process can have.
    """
    try:
        return base64.b64encode(pickle.dumps(config)).decode()
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ConfigError(
            "the settings of a collector cannot be handed to the process that receives hooks, so leave"
            f" hooks.addr out: {error}"
        ) from error


def unpacked(text: str) -> Config:
    """The configuration that was `packed`; only for what comes from the process that started this one."""
    return cast("Config", pickle.loads(base64.b64decode(text)))  # noqa: S301


def _order(wanted: tuple[int, str], descriptors: Sequence[int]) -> bytes:
    """What has the process begin on *descriptors*, or go on, with what is *wanted*."""
    number, config = wanted
    order = {"number": number, "config": config, "descriptors": descriptors}
    return json.dumps(order).encode() + b"\n"


class Porter:
    """Starts the process on *sockets*, which stay ours as well, and starts it again if it ends or hangs.

    It runs with *config*, whatever the files say meanwhile. It says what it counts, for *metrics*, and that
    it is well; *bell* is rung when it kept hooks. It ends with us, however we end: its standard input ends.

    Raises:
        ConfigError: *config* cannot be handed on.
    """

    def __init__(
        self, config: Config, sockets: Sequence[socket.socket], metrics: HookMetrics, bell: threading.Event
    ) -> None:
        self._wanted = (0, packed(config))  # numbered, so that it can say which one it took
        self._sockets = sockets
        self._metrics = metrics
        self._bell = bell
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._reloaded = threading.Event()
        self._heard = threading.Event()
        self._greeted = False  # whether this process has said anything yet
        self._process: subprocess.Popen[bytes] | None = None
        self._counted: dict[tuple[str, str], int] = {}
        self._thread = threading.Thread(target=self._run, name="hooks-porter", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="hooks-porter-watch", daemon=True)

    def start(self) -> None:
        """Have hooks received; those that come before the process is ready wait in the sockets."""
        self._thread.start()
        self._watcher.start()

    def reload(self, config: Config, seconds: float) -> None:
        """Have it go on with *config*; if it did not within *seconds*, it is started again with that."""
        self._reloaded.clear()
        self._wanted = (self._wanted[0] + 1, packed(config))
        self._say_soon(_order(self._wanted, []))
        # One that is still starting has either begun with it, or will read what was said.
        if not self._reloaded.wait(seconds) and self._greeted:
            self._end("the process that receives hooks does not take the new configuration, and is ended")

    def stop(self, seconds: float) -> bool:
        """End the process once it has answered whom it can; true if it ended within *seconds*."""
        self._stopping.set()
        self._say_soon(_STOP)
        self._thread.join(seconds)
        if self._thread.is_alive() and self._process is not None:
            self._process.kill()
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _say_soon(self, order: bytes) -> None:
        """Say it from another thread: a process that hangs may not take it."""
        threading.Thread(target=self._say, args=(order,), name="hooks-porter-say", daemon=True).start()

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
            # What it did not read any more is of no use to anyone.
            with suppress(BrokenPipeError), process:
                self._hear(process)
            if not self._stopping.is_set():
                log.error(
                    "the process that receives hooks ended, and is started again",
                    extra={"code": process.returncode},
                )
                self._stopping.wait(_AGAIN_SECONDS)

    def _begin(self) -> subprocess.Popen[bytes]:
        descriptors = [one.fileno() for one in self._sockets]
        process = subprocess.Popen(  # noqa: S603 - it is ourselves
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=descriptors,
            # Whoever presses Ctrl-C means us: we tell it when to end.
            process_group=0,
        )
        with self._turn:
            self._process, self._counted = process, {}
        self._greeted = False
        self._heard.set()
        self._say(_order(self._wanted, descriptors))
        if self._stopping.is_set():
            self._say(_STOP)
        return process

    def _hear(self, process: subprocess.Popen[bytes]) -> None:
        """Book what the process says, until it ends."""
        for line in cast("Any", process.stdout):
            self._greeted = True
            self._heard.set()
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
        if said.get("took") == self._wanted[0]:
            self._reloaded.set()
        if "counts" in said:
            self._bell.set()

    def _watch(self) -> None:
        """End a process that says nothing any more: that it ended has it started again."""
        silent = 0
        while not self._stopping.wait(_LOOK_SECONDS):
            silent = 0 if self._heard.is_set() else silent + 1
            self._heard.clear()
            if silent >= (_SILENT_LOOKS if self._greeted else _STARTING_LOOKS):
                self._end("the process that receives hooks gives no sign of life, and is ended")
                silent = 0

    def _end(self, why: str) -> None:
        process = self._process
        if process is not None and process.poll() is None and not self._stopping.is_set():
            log.error(why)
            process.kill()
