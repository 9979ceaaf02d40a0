"""How fast questions about 1,000,000 runs and their jobs are answered on SQLite, against a naive scan.

Run it as ``PYTHONPATH=. python tests/bench/bench_history.py``; wall and processor time, each p50 and p95.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from exporter.errors import QuestionTooLong
from exporter.model.history import JobOrder, SortKey, Wanted
from exporter.model.runs import RefKind, Status
from exporter.store.periods import SEASON, WIDTH
from exporter.store.sql import SqlStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNITS, RUNS_A_UNIT, DAYS = 500, 2_000, 365
MICROSECONDS = 1_000_000
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {} - 1)"
# Hashes instead of chance: every run of the bench asks the same.
FILL = [
    "INSERT INTO targets VALUES (1, 'gitlab', :start)",
    f"{NUMBERS.format(UNITS)} INSERT INTO units"
    " SELECT i + 1, 1, 'k' || i, 'group-' || (i % 20) || '/p' || i, 'main', :start, NULL, 1, 1, 1, 0 FROM n",
    f"{NUMBERS.format(RUNS_A_UNIT)} INSERT INTO runs SELECT id, i, '',"
    " CASE WHEN h % 3 = 0 THEN 'main' ELSE 'feature/' || (h % 40) END,"
    " CASE h % 10 WHEN 7 THEN 'tag' WHEN 8 THEN 'change_request' ELSE 'branch' END,"
    " CASE h % 7 WHEN 1 THEN 'web' WHEN 2 THEN 'schedule' ELSE 'push' END, status, created, created + 6e8,"
    " created + 1e7, CASE WHEN status = 'running' THEN NULL ELSE created + 6e8 END,"
    " CASE WHEN status = 'running' THEN NULL ELSE h % 3600 + 0.5 END, h % 120 + 0.25, NULL, 'ann',"
    " 'https://gitlab.example.com/group/p/-/pipelines/' || i, 1, 1, 0, '1772323200', NULL, NULL, i FROM ("
    " SELECT id, i, h, :start + i * :step + (id * 7919 % 1000) * :step / 1000 AS created,"
    f" CASE WHEN i >= {RUNS_A_UNIT} - 2 THEN 'running' WHEN h % 9 = 0 THEN 'failed'"
    " WHEN h % 17 = 0 THEN 'canceled' ELSE 'success' END AS status"
    " FROM (SELECT units.id, n.i, (units.id * 2654435761 + n.i * 40503) % 1000003 AS h FROM units, n))"
    " ORDER BY 1, 2",
    "INSERT INTO latest SELECT unit_id, pipeline, ref_kind, ref, source, max(run_id) FROM runs"
    " GROUP BY 1, 2, 3, 4, 5",
    f"{NUMBERS.format(5)} INSERT INTO jobs SELECT unit_id, run_id * 10 + i, run_id,"
    " CASE i WHEN 4 THEN 'deploy' ELSE 'test' END, 'job ' || i, status, created_at, started_at, finished_at,"
    " duration_seconds, queue_seconds, '', 0, NULL, NULL FROM runs, n"
    " WHERE created_at >= :recent OR run_id % 20 = 0 ORDER BY 1, 2",
]


def generate(file: Path) -> None:
    """The runs of a year, evenly; the jobs of the last month and of every twentieth run before."""
    SqlStore(f"sqlite:///{file}").close()
    start = _micros(NOW - timedelta(days=DAYS))
    values = {
        "start": start,
        "step": DAYS * 86_400 * MICROSECONDS // RUNS_A_UNIT,
        "recent": _micros(NOW - timedelta(days=30)),
    }
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA synchronous = OFF")
        with database:
            for statement in FILL:
                database.execute(statement, values)
            # As the migration does, for a database that had runs before.
            database.execute(
                "INSERT INTO periods SELECT unit_id, created_at / ?, status, source, ref_kind, count(*),"
                " count(duration_seconds), sum(coalesce(duration_seconds, 0)), count(queue_seconds),"
                " sum(coalesce(queue_seconds, 0)) FROM runs GROUP BY 1, 2, 3, 4, 5",
                (WIDTH // timedelta(microseconds=1),),
            )
            database.execute(
                "INSERT INTO seasons SELECT unit_id, period / ?, status, sum(runs), sum(timed), sum(seconds),"
                " sum(queued), sum(queue_seconds) FROM periods GROUP BY 1, 2, 3",
                (SEASON,),
            )


def _micros(instant: datetime) -> int:
    return int(instant.timestamp() * MICROSECONDS)


def questions(store: SqlStore) -> dict[str, Callable[[], Any]]:
    history = store.history(lambda: {"gitlab": "gitlab"})
    month = Wanted(since=NOW - timedelta(days=30), until=NOW)
    week = replace(month, since=NOW - timedelta(days=7))
    one = Wanted(projects=("group-5/p5",))
    failed = Wanted(statuses=(Status.FAILED,))
    asked: dict[str, Callable[[], Any]] = {
        "version": history.version,
        "summary of all": lambda: history.summary(Wanted()),
        "summary of 30 days": lambda: history.summary(month),
        "summary of 7 days": lambda: history.summary(week),
        "summary of one project": lambda: history.summary(one),
        "summary of failed": lambda: history.summary(failed),
        "summary of tags by push": lambda: history.summary(
            Wanted(ref_kinds=(RefKind.TAG,), sources=("push",))
        ),
        "summary of a ref glob": lambda: history.summary(Wanted(refs=("feature/1*",))),
    }
    for sort in SortKey:
        asked[f"100 by {sort}"] = lambda sort=sort: history.runs(Wanted(), sort=sort)
    deep = history.runs(replace(Wanted(), until=NOW - timedelta(days=200))).after
    asked |= {
        "100 by created_at, deep": lambda: history.runs(Wanted(), after=deep),
        "100 of 30 days by duration": lambda: history.runs(month, sort=SortKey.DURATION),
        "100 of one project": lambda: history.runs(one),
        "100 failed": lambda: history.runs(failed),
        "100 running by duration": lambda: history.runs(
            Wanted(statuses=(Status.RUNNING,)), sort=SortKey.DURATION
        ),
        "100 of a ref glob": lambda: history.runs(Wanted(refs=("feature/1*",))),
        "time series of 30 days by hour": lambda: history.timeseries(month, 3600),
        "time series of 90 days by day": lambda: history.timeseries(
            replace(month, since=NOW - timedelta(days=90)), 86_400
        ),
        "projects of 30 days": lambda: history.projects(month),
        "projects of all": lambda: history.projects(Wanted()),
        "jobs of 7 days": lambda: history.jobs(week, JobOrder.SLOWEST, 20),
        "delivery of 30 days": lambda: history.dora(month, ["deploy"]),
    }
    return asked


def naive(file: Path) -> Callable[[], Any]:
    """The unfiltered summary without periods or index: one scan of the table."""

    def scan() -> Any:
        with closing(sqlite3.connect(file)) as database:
            return database.execute(
                "SELECT status, count(*), avg(duration_seconds), avg(queue_seconds)"
                " FROM runs NOT INDEXED WHERE NOT deleted GROUP BY status"
            ).fetchall()

    return scan


def report(name: str, ask: Callable[[], Any], times: int) -> None:
    try:
        ask()
    except QuestionTooLong as error:
        print(f"{name:32} {error}", flush=True)
        return
    wall, processor = [], []
    for _ in range(times):
        started, worked = time.perf_counter(), time.process_time()
        ask()
        wall.append(1000 * (time.perf_counter() - started))
        processor.append(1000 * (time.process_time() - worked))
    cells = [_quantiles(wall), _quantiles(processor)]
    print(f"{name:32} wall {cells[0]}   processor {cells[1]}", flush=True)


def _quantiles(values: list[float]) -> str:
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return f"{cuts[9]:7.1f} {cuts[18]:7.1f} ms"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(directory) / "million.db"
        if not file.exists():
            generate(file)
        with closing(SqlStore(f"sqlite:///{file}")) as store:
            print(f"{'1,000,000 runs on SQLite':32} p50 and p95")
            report("baseline: scan of the table", naive(file), 3)
            for name, ask in questions(store).items():
                report(name, ask, 7)


if __name__ == "__main__":
    main()
