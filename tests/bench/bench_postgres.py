"""50,000 rows of PostgreSQL as series: our scrapes, refreshes and memory against query-exporter's.

    PYTHONPATH=. python tests/bench/bench_postgres.py

Both programs run as users run them, each in a process of its own, on one throw-away PostgreSQL.
query-exporter is installed from the package index into a venv that is gone afterwards: the newest version
that this Python gets. How to read it: milliseconds depend on the machine, so trust the ratios; their two
sides come from one run and, for cached scrapes, take turns. A scrape is a GET on a fresh connection, read to
its end; CPU is that of the answering process. The first scrape after a refresh, in which every value changed,
pays for what later ones find ready. A refresh whose rows come in another order than those before cannot
build on them, and so is measured by itself.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import yaml

from exporter.clock import SystemClock
from exporter.contract import Position
from exporter.plugins import collector_classes
from exporter.rendering import Format
from tests.support import query_exporter
from tests.support.fakes import World
from tests.support.measured import Scraped, Scrapes
from tests.support.postgres import PostgresServer
from tests.support.process import ExporterProcess, wait_until

ROWS = 50_000
SCRAPES, REFRESHES, TURNS = 15, 9, 7
SCRAPE_TARGET, REFRESH_TARGET = 50, 4
QUERY = "SELECT project, pr_state, n FROM pr_counts"
_TABLE = (
    f"""
    CREATE TABLE pr_counts AS
    SELECT 'group-' || i / 500 || '/project-' || i / 5 AS project,
           (ARRAY['open', 'merged', 'closed', 'draft', 'stale'])[i % 5 + 1] AS pr_state, i AS n
    FROM generate_series(0, {ROWS - 1}) AS i
    """,
    "CREATE INDEX same ON pr_counts (project, pr_state)",
    "CREATE INDEX other ON pr_counts (md5(project || pr_state || n))",
    "CLUSTER pr_counts USING same",
    "ANALYZE pr_counts",
)
_FIRST_ROW = re.compile(rb'^pr_count\{(?=[^}]*project="group-0/project-0")[^}]*"open"[^}]*\} (\S+)$', re.M)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def verdict(base: float, mine: float, target: int) -> str:
    """``1/150 (wanted 1/50: met)``."""
    times = base / mine
    return (
        f"1/{times:.{0 if times > 10 else 1}f} (wanted 1/{target}: {'met' if times >= target else 'MISSED'})"
    )


def complete(subject: Scraped) -> bool:
    """Whether *subject* shows all rows."""
    try:
        return len(re.findall(rb"^pr_count\{", subject.scrape("identity"), re.M)) == ROWS
    except OSError:
        return False


class Table:
    """The 50,000 rows, and a way to change every value."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        for statement in _TABLE:
            self._connection.execute(statement)
        self.first = 0

    def change(self, order: str) -> None:
        """Give every row a new value, and lay them down in the *order* of that index, without dead ones."""
        self._connection.execute("UPDATE pr_counts SET n = n + 1")
        self._connection.execute(f"CLUSTER pr_counts USING {order}")
        self.first += 1

    def read(self) -> None:
        """What any refresh does at least: fetch all rows, and nothing more."""
        assert len(self._connection.execute(QUERY).fetchall()) == ROWS

    def close(self) -> None:
        self._connection.close()


@contextmanager
def theirs(folder: Path, url: str, interval: str, program: Path) -> Iterator[Scraped]:
    """query-exporter with an interval query, once it shows all rows."""
    config = {
        "databases": {"main": {"dsn": url.replace("postgresql:", "postgresql+psycopg2:")}},
        "metrics": {
            "pr_count": {"type": "gauge", "description": "Pull requests.", "labels": ["project", "pr_state"]}
        },
        "queries": {
            "pr_counts": {
                "interval": interval,
                "databases": ["main"],
                "metrics": ["pr_count"],
                "sql": QUERY.replace(" n ", " n AS pr_count "),
            }
        },
    }
    with query_exporter.running(program, folder, config) as (process, port):
        subject = Scraped("query-exporter", process.pid, port)
        wait_until(lambda: process.poll() is not None or complete(subject), "query-exporter shows all rows")
        assert process.poll() is None, (folder / "query-exporter.log").read_text()
        yield subject


@contextmanager
def ours(folder: Path, url: str, interval: str) -> Iterator[Scraped]:
    """The real program with the same query, once it shows all rows."""
    config = {
        "store": {"url": f"sqlite:///{folder}/store.db"},
        "metrics": {"max_series_per_family": ROWS},
        "collectors": {"postgres": block(folder, url, interval)},
    }
    with ExporterProcess(folder, config).start() as exporter:
        subject = Scraped("ours", exporter.process.pid, exporter.port)
        wait_until(lambda: exporter.process.poll() is not None or complete(subject), "we show all rows")
        assert exporter.process.poll() is None, exporter.log_path.read_text()
        yield subject


def block(folder: Path, url: str, interval: str) -> dict[str, object]:
    """Our collector's block of configuration, its query file written into *folder*."""
    metric = {
        "metric_name": "pr_count",
        "type": "gauge",
        "help": "Pull requests.",
        "key_labels": ["project", "pr_state"],
        "values": ["n"],
        "query": QUERY,
    }
    file = folder / "pr_counts.collector.yml"
    file.write_text(
        yaml.safe_dump({"collector_name": "pr_counts", "min_interval": interval, "metrics": [metric]})
    )
    return {"databases": {"main": {"dsn": url, "files": [str(file)]}}}


def scrapes(baseline: Scraped, subject: Scraped) -> float:
    """Compare scrapes of what is cached; the median milliseconds of the baseline."""
    kinds = [(who, encoding, Scrapes()) for who in (baseline, subject) for encoding in ("identity", "gzip")]
    for turn in range(2 + SCRAPES):
        for who, encoding, taken in kinds:
            who.scrape(encoding, taken if turn >= 2 else None)
    for who, encoding, taken in kinds:
        packed = ", not compressed" if encoding == "gzip" and taken.body[:2] != b"\x1f\x8b" else ""
        say(f"scrape, cached, Accept-Encoding {encoding}: {who.name} {taken}{packed}")
    base, _, plain, packed = (median(taken.milliseconds) for *_, taken in kinds)
    for name, mine in (("plain", plain), ("gzip", packed)):
        share = verdict(base, mine, SCRAPE_TARGET)
        say(f"scrape, cached: {base:.0f} ms query-exporter, {mine:.1f} ms ours, {name}: {share}")
    return base


def memory(subject: Scraped, table: Table, seconds: float) -> None:
    """Scrape after each of several refreshes that change every value, and look at the memory then."""
    plain, packed = Scrapes(), Scrapes()
    for _ in range(TURNS):
        table.change("other")
        time.sleep(2.5 * seconds)
        shown = _FIRST_ROW.search(subject.scrape("identity", plain))
        assert shown is not None, "the row is gone"
        assert float(shown[1]) == table.first, f"{subject.name} shows {shown[1]!r}, not {table.first}"
        subject.scrape("gzip", packed)
    say(f"first scrape after a refresh, plain: {subject.name} {plain}")
    say(f"first scrape after a refresh, gzip: {subject.name} {packed}")
    now, most = subject.megabytes()
    say(f"memory: {subject.name} {now:.0f} MB after {TURNS} refreshes and scrapes, peak {most:.0f} MB")


def refreshes(folder: Path, url: str, table: Table, base: float) -> None:
    """Compare our whole refresh with *base*, the milliseconds of one scrape of the baseline."""
    say("whole refresh: fetch, build samples, swap them in, gather plain and gzip; every value changed")
    with our_refresh(folder, url) as refresh:
        for order in ("same", "other"):
            bare, whole, cpu = [], [], []
            for _ in range(1 + REFRESHES):
                table.change(order)
                bare.append(milliseconds_of(table.read))
                started = time.process_time()
                whole.append(milliseconds_of(refresh))
                cpu.append((time.process_time() - started) * 1e3)
            mine = median(whole[1:])
            say(
                f"whole refresh, rows in {order} order: {base:.0f} ms one cached scrape of query-exporter,"
                f" {mine:.0f} ms ({min(whole[1:]):.0f}–{max(whole[1:]):.0f}, CPU {median(cpu[1:]):.0f}) ours:"
                f" {verdict(base, mine, REFRESH_TARGET)}; psycopg's bare fetchall {median(bare[1:]):.0f} ms"
            )


def milliseconds_of(action: Callable[[], object]) -> float:
    """How long *action* takes."""
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1e3


@contextmanager
def our_refresh(folder: Path, url: str) -> Iterator[Callable[[], object]]:
    """Our collector in this process: a call refreshes it wholly."""
    cls = collector_classes()["postgres"]
    world = World(clock=SystemClock(), cap=ROWS)
    context = world.context(cls.name, cls.families)
    collector = cls(cls.config_model.model_validate(block(folder, url, "1h")), context)
    page = world.exposition.page(cls.name, ())
    page.declare(collector.declared)
    world.registry.add(collector)
    (unit,) = collector.discover().units
    position: Any = Position(None, world.clock.now(), None)  # type: ignore[arg-type]

    def refresh() -> None:
        batch = collector.poll(unit, position)
        assert batch.samples is not None
        assert batch.failure is None, batch.failure
        page.swap(unit.key, batch.samples)
        plain = world.exposition.gather(Format.TEXT, gzip=False)
        world.exposition.gather(Format.TEXT, gzip=True)
        assert plain.size > ROWS * len("pr_count")

    try:
        yield refresh
    finally:
        world.stopping.set()
        collector.close()


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program, version = query_exporter.install(folder)
        say(f"baseline: query-exporter {version}, {ROWS:,} rows as one gauge with two labels")
        server = PostgresServer()
        stack.callback(server.remove)
        url, table = server.url, Table(server.url)
        stack.callback(table.close)
        with theirs(folder, url, "1h", program) as baseline, ours(folder, url, "1h") as subject:
            base = scrapes(baseline, subject)
            for who in (baseline, subject):
                say("memory: {} {:.0f} MB at rest, peak {:.0f} MB".format(who.name, *who.megabytes()))
        for start in (lambda: theirs(folder, url, "1s", program), lambda: ours(folder, url, "1s")):
            with start() as subject:
                memory(subject, table, 1)
        refreshes(folder, url, table, base)


if __name__ == "__main__":
    main()
