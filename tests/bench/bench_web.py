"""Our HTTP server beside prometheus_client's own, and scrapes while a round rewrites everything.

Run: ``PYTHONPATH=. python tests/bench/bench_web.py``. Each server and the load have a process of their
own, and both servers show the same exposition. Trust the ratios; the load shares the machine.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import start_http_server

from exporter.cli.interpreter import tune
from exporter.families import Sample, Samples, gauge
from exporter.rendering import Format
from exporter.web.app import WebParts, build_app
from exporter.web.landing import LandingPage
from exporter.web.listen import bind
from exporter.web.server import WebServer
from tests.support.fakes import World
from tests.support.load import scrape
from tests.support.process import free_port

CONNECTIONS = 32
SECONDS = 4.0
FEWEST = CONNECTIONS
SIZES = {"tiny": 10, "5 MB": 41_000}
REWRITTEN = 50_000
PER_ENTITY = 100
MOST_DURING_A_ROUND = 3.0
WALL = gauge("wall_brick_temperature_celsius", "One of very many series.", ("course", "brick", "mason"))
MASON = "a mason with a name that is long enough to fill a line"


class Shown:
    """An exposition of so many series, 100 for each entity."""

    def __init__(self, series: int) -> None:
        self.world = World(cap=10**6)
        self.page = self.world.polled("bench", WALL).context.page
        self.entities = max(1, series // PER_ENTITY)
        self.each = series // self.entities
        self.rewrite(0)

    def rewrite(self, turn: int) -> None:
        """Swap every entity's samples for new ones, as a round does."""
        for entity in range(self.entities):
            self.page.swap(str(entity), self._samples(entity, turn))

    def _samples(self, entity: int, turn: int) -> Samples:
        course = f"course-{entity:05d}"
        return {
            WALL: [
                Sample((course, f"brick-{number:07d}", MASON), number + turn / 8)
                for number in range(self.each)
            ]
        }


# -- the processes


def serve(which: str, series: int) -> None:
    """Serve until killed; a line on standard input starts the rounds."""
    if which == "ours":
        tune()
    shown = Shown(series)
    port = free_port()
    if which == "ours":
        WebServer(build_app(_parts(shown)), bind([f"127.0.0.1:{port}"])).start()
    else:
        start_http_server(port, addr="127.0.0.1", registry=shown.world.registry)
    print(port, flush=True)
    for _ in sys.stdin:
        threading.Thread(target=_rewrite, args=(shown,), daemon=True).start()


def _rewrite(shown: Shown) -> None:
    for turn in itertools.count(1):
        shown.rewrite(turn)


def _parts(shown: Shown) -> WebParts:
    def render(form: Format, gzip: bool, names: Any, collectors: Any) -> list[bytes]:
        return shown.world.registry.pieces(form, gzip=gzip, names=names, collectors=collectors)

    return WebParts(
        render=render,
        readiness=lambda: None,
        landing=lambda: LandingPage("bench", "0", ""),
        reload=lambda: None,
        set_log_level=lambda level: None,
    )


def load(port: int, encoding: str, connections: int) -> None:
    """Scrape for a while on so many connections, kept open where the server does; print what that took."""
    print(json.dumps(scrape(port, encoding, connections, SECONDS, FEWEST)))


# -- the figures


@contextmanager
def _server(which: str, series: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with subprocess.Popen(
        [sys.executable, __file__, "serve", which, str(series)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process
        finally:
            process.kill()


def _measure(port: int, encoding: str, connections: int = CONNECTIONS) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "load", str(port), encoding, str(connections)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _compare(size: str, encoding: str) -> None:
    figures = {}
    for which in ("theirs", "ours"):
        with _server(which, SIZES[size]) as (port, _):
            figures[which] = _measure(port, encoding)
    theirs, ours = figures["theirs"], figures["ours"]
    print(
        f"{size:5} {encoding:8} {ours['rate']:8.1f} scrapes/s, p99 {ours['p99'] * 1e3:7.1f} ms;"
        f" start_http_server {theirs['rate']:7.1f}/s, p99 {theirs['p99'] * 1e3:8.1f} ms;"
        f" ratio {ours['rate'] / theirs['rate']:.1f} x as many, p99 1/{theirs['p99'] / ours['p99']:.0f}"
    )


def _during_a_round(connections: int, encoding: str) -> None:
    with _server("ours", REWRITTEN) as (port, process):
        assert process.stdin is not None
        _measure(port, encoding, connections)
        quiet = _measure(port, encoding, connections)
        process.stdin.write("\n")
        process.stdin.flush()
        busy = _measure(port, encoding, connections)
    ratio = busy["p99"] / quiet["p99"]
    verdict = "met" if ratio < MOST_DURING_A_ROUND else "MISSED"
    print(
        f"rewriting {REWRITTEN} series, {connections:2} connections, {encoding:8}:"
        f" p99 {busy['p99'] * 1e3:.1f} ms, quiet {quiet['p99'] * 1e3:.1f} ms:"
        f" {ratio:.2f} x (target < {MOST_DURING_A_ROUND:g}) {verdict};"
        f" median {busy['median'] / quiet['median']:.2f} x"
    )


def main() -> None:
    """Print a line for each case."""
    print(f"{CONNECTIONS} connections, {SECONDS:g} s and at least {FEWEST} scrapes each")
    for size in SIZES:
        for encoding in ("identity", "gzip"):
            _compare(size, encoding)
    for connections in (1, CONNECTIONS):
        for encoding in ("identity", "gzip"):
            _during_a_round(connections, encoding)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", which, series]:
            serve(which, int(series))
        case ["load", port, encoding, connections]:
            load(int(port), encoding, int(connections))
        case _:
            main()
