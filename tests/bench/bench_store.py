"""How fast runs are saved into SQLite, against bare sqlite3, and how fast a start reads a million runs.

Run it as ``PYTHONPATH=. python tests/bench/bench_store.py [--profile]``.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exporter.contract import Batch, Unit
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.store.sql import SqlStore

START = datetime(2026, 3, 1, tzinfo=UTC)
STEPS = (Status.PENDING, Status.RUNNING, Status.SUCCESS)
BATCH = 50
MICROSECONDS = 1_000_000


def batches(count: int, jobs_a_run: int) -> Iterator[tuple[tuple[PipelineRun, ...], tuple[JobRun, ...]]]:
    """*count* batches of 50 runs, each run three times: pending, running, success."""
    for number in range(count):
        first, step = number // 3 * BATCH, number % 3
        runs = tuple(_run(first + offset, step) for offset in range(BATCH))
        yield runs, tuple(_job(run, index) for run in runs for index in range(jobs_a_run))


def _run(run_id: int, step: int) -> PipelineRun:
    created = START + timedelta(seconds=run_id)
    run = PipelineRun(
        run_id,
        f"feature/{run_id % 40}",
        RefKind.BRANCH,
        "push",
        STEPS[step],
        created,
        created + timedelta(seconds=20 * step),
        username="ann",
        web_url=f"https://gitlab.example.com/group/project/-/pipelines/{run_id}",
        started_at=created + timedelta(seconds=3) if step else None,
        queue_seconds=3.0 if step else None,
    )
    return replace(run, finished_at=run.updated_at, duration_seconds=37.0) if step == 2 else run


def _job(run: PipelineRun, index: int) -> JobRun:
    finished = run.status.finished
    return JobRun(
        run.run_id * 10 + index,
        run.run_id,
        "test",
        f"unit {index}",
        run.status,
        run.created_at,
        run.started_at,
        run.finished_at,
        31.0 if finished else None,
        2.0 if run.started_at else None,
    )


def ours(directory: Path, count: int, jobs_a_run: int) -> float:
    """Runs saved per second through the store."""
    store = SqlStore(f"sqlite:///{directory}/ours-{jobs_a_run}.db")
    unit = store.register("gitlab", [Unit("1", "group/project")], backfill_days=0, now=START)[0].id
    prepared = list(batches(count, jobs_a_run))
    started = time.perf_counter()
    for number, (runs, jobs) in enumerate(prepared):
        store.save(unit, Batch(cursor=str(number), runs=runs, jobs=jobs), START)
    seconds = time.perf_counter() - started
    total = sum(t.value for t in store.views([unit])[0].totals if t.family == "ci_pipeline_runs")
    assert total == count // 3 * BATCH
    store.close()
    return count * BATCH / seconds


def bare(directory: Path, count: int, jobs_a_run: int) -> float:
    """Runs saved per second by sqlite3 alone: the same rows, no merging, counts, newest runs or cursor."""
    file = directory / f"bare-{jobs_a_run}.db"
    SqlStore(f"sqlite:///{file}").close()
    prepared = list(batches(count, jobs_a_run))
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA synchronous = NORMAL")
        insert_run = f"INSERT OR REPLACE INTO runs VALUES ({','.join('?' * 22)})"
        insert_job = f"INSERT OR REPLACE INTO jobs VALUES ({','.join('?' * 15)})"
        started = time.perf_counter()
        for runs, jobs in prepared:
            with database:
                database.executemany(insert_run, [_run_row(run) for run in runs])
                database.executemany(insert_job, [_job_row(job) for job in jobs])
        return count * BATCH / (time.perf_counter() - started)


def _micros(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp() * MICROSECONDS)


def _run_row(run: PipelineRun) -> tuple[object, ...]:
    times = [_micros(t) for t in (run.created_at, run.updated_at, run.started_at, run.finished_at)]
    amounts = (run.duration_seconds, run.queue_seconds, run.coverage_ratio)
    return (
        *(1, run.run_id, run.pipeline, run.ref, run.ref_kind.value, run.source, run.status.value),
        *(*times, *amounts, run.username, run.web_url, run.selected, run.complete, False, None),
        *(run.sha, run.commit_title),
    )


def _job_row(job: JobRun) -> tuple[object, ...]:
    times = [_micros(t) for t in (job.created_at, job.started_at, job.finished_at)]
    return (
        *(1, job.job_id, job.run_id, job.stage, job.name, job.status.value, *times),
        *(job.duration_seconds, job.queue_seconds, job.failure_reason, job.allow_failure, None, job.web_url),
    )


def generate(file: Path) -> None:
    """1,000,000 runs of 500 units with 13,000 refs and 12,000 totals, by raw SQL."""
    SqlStore(f"sqlite:///{file}").close()
    now = _micros(START)
    buckets = json.dumps({"10.0": 5, "60.0": 7, "Infinity": 1})
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("INSERT INTO targets VALUES (1, 'gitlab', ?)", (now,))
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO units"
            " SELECT i, 1, 'k' || i, 'group/p' || i, 'main', ?, NULL, 1, 1, 1, 0 FROM n",
            (now,),
        )
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1999) INSERT INTO runs"
            " SELECT u.id, i, '', 'feature/' || (i % 26), 'branch', 'push',"
            " CASE WHEN i > 1996 THEN 'running' ELSE 'success' END, ?, ?, ?, ?, 37, 3, NULL, 'ann',"
            " 'https://gitlab.example.com/group/p/-/pipelines/' || i, 1, 1, 0, '1772323200', NULL, NULL"
            " FROM units u, n ORDER BY u.id, i",
            (now, now, now, now),
        )
        database.execute(
            "INSERT INTO latest SELECT unit_id, pipeline, ref_kind, ref, source, max(run_id)"
            " FROM runs GROUP BY 1, 2, 3, 4, 5"
        )
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 23) INSERT INTO totals"
            " SELECT u.id, CASE i % 2 WHEN 0 THEN 'ci_job_runs' ELSE 'ci_job_run_duration_seconds' END,"
            " json_array('test', 'job ' || i), 13, CASE i % 2 WHEN 0 THEN NULL ELSE ? END FROM units u, n",
            (buckets,),
        )


def start(file: Path) -> tuple[float, float, int]:
    """Seconds to open the database, seconds to read all views, and how many refs they hold."""
    started = time.perf_counter()
    store = SqlStore(f"sqlite:///{file}")
    opened = time.perf_counter()
    views = store.views(list(store.versions("gitlab")))
    done = time.perf_counter()
    store.close()
    assert sum(len(view.totals) for view in views) == 12_000
    return opened - started, done - opened, sum(len(view.latest) for view in views)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for jobs_a_run in (0, 5):
            mine, theirs = ours(directory, 150, jobs_a_run), bare(directory, 150, jobs_a_run)
            ratio = theirs / mine
            print(
                f"runs saved per second into SQLite, {jobs_a_run} jobs a run: {mine:,.0f}"
                f" (sqlite3 executemany of the same rows, no counting: {theirs:,.0f}; ratio {ratio:.1f})"
            )
        generate(directory / "million.db")
        opening, reading, refs = start(directory / "million.db")
        print(
            f"start on 1,000,000 runs: open {opening:.2f} s, read 500 views with {refs:,} refs"
            f" {reading:.2f} s, together {opening + reading:.2f} s (target 5 s)"
        )


def profile() -> None:
    """Print where saving spends its time."""
    with tempfile.TemporaryDirectory() as name, cProfile.Profile() as profiler:
        ours(Path(name), 150, 5)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    profile() if "--profile" in sys.argv else main()
