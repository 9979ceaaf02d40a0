"""``python -m exporter.hookprocess``: receives hooks for the process that started it (the porter)."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, BinaryIO

from prometheus_client import CollectorRegistry

from exporter import logs
from exporter.app import register_secrets
from exporter.cli.interpreter import tune
from exporter.clock import timestamp
from exporter.config.load import Config
from exporter.errors import ConfigError, ExporterError
from exporter.hookmetrics import HookMetrics, Result
from exporter.parts import Parts
from exporter.porter import unpacked
from exporter.receiving import HookKeeping
from exporter.serving import Serving
from exporter.store.sql import SqlStore
from exporter.web.app import WebParts
from exporter.web.groups import EVERYWHERE, Group, Listener
from exporter.web.landing import LandingPage

log = logging.getLogger(__name__)

_TELL_SECONDS = 0.05
_WELL_TURNS = 20
_TURN_SECONDS = 5.0
_SWITCH_SECONDS = 0.0001
_STOP_SECONDS = 1.0


class Ledger(HookMetrics):
    """Counts for the process that shows them."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())
        self._turn = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._lasts: dict[str, float] = {}
        self._changed = False

    def count(self, collector: str, result: Result, hooks: int = 1) -> None:
        with self._turn:
            self._counts[collector, result.value] = self._counts.get((collector, result.value), 0) + hooks
            self._changed = True

    def received(self, collector: str, now: datetime) -> None:
        with self._turn:
            self._lasts[collector] = timestamp(now)

    def news(self) -> dict[str, Any] | None:
        """All that was counted so far, if there is more than the last time this was asked."""
        with self._turn:
            if not self._changed:
                return None
            self._changed = False
            counts = [[collector, result, hooks] for (collector, result), hooks in self._counts.items()]
            return {"counts": counts, "last": list(self._lasts.items())}


class HookProcess:
    """The server on the sockets that were passed, and the intake behind it.

    Raises:
        ExporterError: the configuration or the store cannot be used.
    """

    def __init__(self, orders: Mapping[str, Any], tells: BinaryIO) -> None:
        config, self._number = _config(orders["config"]), orders["number"]
        settings = config.settings
        logs.configure(settings.log.level, settings.log.format, sys.stderr)
        self._tells = tells
        self._turn = threading.Lock()
        self._ledger = Ledger()
        self._parts = Parts(config, SqlStore(settings.store.url.get_secret_value()))
        self._parts.metrics.hooks = self._ledger
        self._keeping = HookKeeping(settings.hooks, self._parts, tidies=False)
        sockets = [socket.socket(fileno=number) for number in orders["descriptors"]]
        self._serving = Serving(settings, [Listener(sockets, frozenset({Group.HOOKS}) | EVERYWHERE)])
        self._ended = threading.Event()

    def run(self, orders: BinaryIO) -> None:
        """Serve until told to stop, or until nobody can tell it any more."""
        self._keeping.start()
        self._serving.start(self._web_parts())
        threading.Thread(target=self._tell_counts, name="hooks-tell", daemon=True).start()
        # What is here now stays: to look through it for garbage would take longer than an answer may.
        gc.collect()
        gc.freeze()
        self._tell({"took": self._number})
        for line in orders:
            order = json.loads(line)
            if order.get("stop"):
                break
            self._reload(_config(order["config"]))
            self._tell({"took": order["number"]})
        for server in self._serving.servers:
            server.stop(_STOP_SECONDS)
        self._keeping.stop(_STOP_SECONDS)
        self._ended.set()
        self._tell(self._ledger.news())

    def _web_parts(self) -> WebParts:
        """What is asked for here is only whether the process is well, which it is if it can answer."""
        return WebParts(
            render=lambda *_: [],
            readiness=lambda: None,
            landing=lambda: LandingPage("", "", ""),
            reload=lambda: None,
            set_log_level=lambda _: None,
            clock=self._parts.clock,
            hooks=self._keeping.door,
        )

    def _reload(self, config: Config) -> None:
        try:
            self._parts.exchange(self._parts.build(config))
            self._keeping.renew()
            self._serving.reload()
        except ConfigError as error:
            # The one who asked has built the same; what a collector needs must have changed since.
            log.error("hooks go on with the old configuration", extra={"error": str(error)})  # noqa: TRY400

    def _tell_counts(self) -> None:
        """Say what was counted, and now and then that all is well: each server comes round to new work."""
        for turn in itertools.count():
            if self._ended.wait(_TELL_SECONDS):
                return
            self._tell(self._ledger.news())
            if turn % _WELL_TURNS == 0 and self._serving.turns(_TURN_SECONDS):
                self._tell({})

    def _tell(self, news: Mapping[str, Any] | None) -> None:
        if news is None:
            return
        with self._turn:
            try:
                self._tells.write(json.dumps(news).encode() + b"\n")
                self._tells.flush()
            except OSError:
                # The reader of our counts is gone, and its orders end, too.
                self._ended.set()


def _config(text: str) -> Config:
    """What the service runs with."""
    config = unpacked(text)
    register_secrets(config)
    return config


def main() -> int:
    """Run; the exit code."""
    # Whoever started us says when to end: what a terminal or systemd sends is for that process.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    tune()
    # An acknowledgement goes from the server's thread to the one that writes, and back.
    sys.setswitchinterval(_SWITCH_SECONDS)
    tells = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders = sys.stdin.buffer
    try:
        process = HookProcess(json.loads(orders.readline()), tells)
    except ExporterError as error:
        log.error("hooks cannot be received", extra={"error": str(error)})  # noqa: TRY400
        return 1
    process.run(orders)
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)
