"""What every store answers about runs, on SQLite and on PostgreSQL, against plain Python over the records."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from itertools import pairwise
from statistics import fmean, median
from typing import Any

import pytest

from exporter.contract import Batch, Unit
from exporter.model.history import (
    BadPosition,
    History,
    JobOrder,
    Quantiles,
    ShownRun,
    SortKey,
    Summary,
    Wanted,
)
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.store.sql import SqlStore
from tests.conftest import START, at, fresh_database, make_job, make_run

DAY = timedelta(days=1)
PROVIDERS = {"one": "gitlab", "two": "other"}
PROJECTS = [
    ("one", "acme/app", "main"),
    ("one", "acme/lib", "trunk"),
    ("one", "b/app", "main"),
    ("two", "acme/app", "main"),
]
REFS = ["main", "trunk", "feature/a", "feature/b-1", "release_1", "v1.0", "50%", "[odd]", "a\\b"]
ORDERS = [(sort, descending) for sort in SortKey for descending in (True, False)]


@dataclass
class Truth:
    """All that was saved, and what it means in plain Python."""

    store: SqlStore
    history: History
    units: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    runs: dict[tuple[int, int], PipelineRun] = field(default_factory=dict)
    jobs: dict[tuple[int, int], JobRun] = field(default_factory=dict)

    def save(self, unit: int, *items: PipelineRun | JobRun, **batch: Any) -> None:
        runs = tuple(item for item in items if isinstance(item, PipelineRun))
        jobs = tuple(item for item in items if isinstance(item, JobRun))
        self.store.save(unit, Batch(runs=runs, jobs=jobs, **batch), START)
        self.runs |= {(unit, run.run_id): run for run in runs}
        self.jobs |= {(unit, job.job_id): job for job in jobs}
        for run_id in batch.get("deleted_runs", ()):
            self.runs.pop((unit, run_id), None)

    def shown(self, unit: int, run: PipelineRun) -> ShownRun:
        provider, project, default = self.units[unit]
        return ShownRun(provider, project, run.ref_kind is RefKind.BRANCH and run.ref == default, run)

    def wanted(self, wanted: Wanted) -> dict[tuple[int, int], PipelineRun]:
        return {key: run for key, run in self.runs.items() if self._fits(key[0], run, wanted)}

    def _fits(self, unit: int, run: PipelineRun, wanted: Wanted) -> bool:
        shown = self.shown(unit, run)
        return (
            (wanted.since is None or run.created_at >= wanted.since)
            and (wanted.until is None or run.created_at < wanted.until)
            and (not wanted.providers or shown.provider in wanted.providers)
            and (not wanted.projects or any(fnmatchcase(shown.project, glob) for glob in wanted.projects))
            and (not wanted.refs or any(fnmatchcase(run.ref, glob) for glob in wanted.refs))
            and (not wanted.ref_kinds or run.ref_kind in wanted.ref_kinds)
            and (not wanted.statuses or run.status in wanted.statuses)
            and (not wanted.sources or run.source in wanted.sources)
            and (not wanted.default_branch_only or shown.default_branch)
        )

    def page(self, wanted: Wanted, sort: SortKey, descending: bool) -> list[ShownRun]:
        """Everything, in order."""
        keyed = [(value_of(run, sort), *key, run) for key, run in self.wanted(wanted).items()]
        known = [row for row in keyed if row[0] is not None]
        unknown = [row for row in keyed if row[0] is None]
        known.sort(key=lambda row: row[:3], reverse=descending)
        unknown.sort(key=lambda row: row[1:3], reverse=descending)
        return [self.shown(row[1], row[3]) for row in known + unknown]


def value_of(run: PipelineRun, sort: SortKey) -> Any:
    return getattr(run, {"duration": "duration_seconds", "queue_duration": "queue_seconds"}.get(sort, sort))


def summary_of(runs: Iterable[PipelineRun]) -> Summary:
    runs = list(runs)
    durations = sorted(run.duration_seconds for run in runs if run.duration_seconds is not None)
    queues = sorted(run.queue_seconds for run in runs if run.queue_seconds is not None)
    return Summary(
        counts={status: n for status in Status if (n := sum(run.status is status for run in runs))},
        avg_duration=pytest.approx(fmean(durations)) if durations else None,
        avg_queue_duration=pytest.approx(fmean(queues)) if queues else None,
        duration=quantiles_of(durations),
        queue_duration=quantiles_of(queues),
    )


def quantiles_of(values: Sequence[float]) -> Quantiles:
    if not values:
        return Quantiles()
    return Quantiles(*(values[math.ceil(share * len(values)) - 1] for share in (0.5, 0.95)))


def random_run(rng: random.Random, run_id: int) -> PipelineRun:
    status = rng.choice(list(Status))
    created = START + timedelta(seconds=rng.randrange(120) * 43_200, microseconds=rng.randrange(3))
    end = created + timedelta(seconds=rng.randrange(5))
    return make_run(
        run_id,
        status,
        ref=rng.choice(REFS),
        ref_kind=rng.choice(list(RefKind)),
        source=rng.choice(["push", "web", "schedule"]),
        created_at=created,
        updated_at=end,
        started_at=None,
        finished_at=end if status.finished and rng.random() < 0.9 else None,
        duration_seconds=rng.choice([None, 0.0, 0.1, 7.25, 1e6]),
        queue_seconds=rng.choice([None, 0.5, 2.0]),
        complete=rng.random() < 0.8,
        username=rng.choice([None, "ann"]),
    )


def random_job(rng: random.Random, job_id: int, run: PipelineRun) -> JobRun:
    status = rng.choice([Status.SUCCESS, Status.SUCCESS, Status.FAILED, Status.RUNNING, Status.SKIPPED])
    end = run.created_at + timedelta(seconds=rng.randrange(100_000)) if status.finished else None
    return make_job(
        job_id,
        status,
        run_id=run.run_id,
        stage=rng.choice(["test", "deploy"]),
        name=rng.choice(["unit", "lint", "prod"]),
        created_at=run.created_at,
        finished_at=end if status is not Status.SKIPPED else None,
        duration_seconds=rng.choice([None, 1.5, 60.0]),
    )


def begin(store: SqlStore) -> Truth:
    """Four caught-up projects of two providers, and one each that must never be seen."""
    truth = Truth(store, store.history(lambda: PROVIDERS))
    for target in PROVIDERS:
        mine = [project for project in PROJECTS if project[0] == target]
        units = [Unit(name, name, default_branch=branch) for _, name, branch in mine]
        hidden = [Unit("new", "acme/new", default_branch="main"), Unit("old", "acme/old")]
        store.register(target, [*units, *hidden], backfill_days=0, now=START)
        stored = store.register(target, [*units, hidden[0]], backfill_days=0, now=START)
        for (_, name, branch), unit in zip(mine, stored, strict=False):
            store.save(unit.id, Batch(cursor="start"), START)
            truth.units[unit.id] = (PROVIDERS[target], name, branch)
        store.save(stored[-1].id, Batch(runs=(make_run(1),), more=True), START)
    gone = store.register("gone", [Unit("x", "acme/app", default_branch="main")], backfill_days=0, now=START)
    store.save(gone[0].id, Batch(runs=(make_run(1),)), START)
    return truth


def fill(truth: Truth) -> Truth:
    """90 runs and 300 jobs in each project, some of which are deleted."""
    rng = random.Random(5)
    for unit in truth.units:
        runs = [random_run(rng, number) for number in range(1, 91)]
        jobs = [random_job(rng, number, rng.choice(runs)) for number in range(1, 301)]
        truth.save(unit, *runs, *jobs)
        truth.save(unit, deleted_runs=(7, 8, 9))
        for job in [job for job in jobs if job.run_id in (7, 8, 9)]:
            del truth.jobs[unit, job.job_id]
    return truth


@pytest.fixture
def empty(store: SqlStore) -> Truth:
    return begin(store)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    """A history that no test changes."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path_factory.mktemp('history')}/store.db"
        if request.param == "postgresql":
            url = stack.enter_context(fresh_database(request.getfixturevalue("postgres_url")))
        store = SqlStore(url)
        stack.callback(store.close)
        yield fill(begin(store))


WANTED = {
    "all": Wanted(),
    "since": Wanted(since=START + 20 * DAY),
    "until": Wanted(until=START + 20 * DAY),
    "a window": Wanted(since=START + 3 * DAY, until=START + 40 * DAY),
    # In these, eight weeks are whole: those from 17 days before START on, or those after them.
    "eight weeks, two, and a day": Wanted(since=START - 18 * DAY, until=START + 54 * DAY),
    "two weeks and more": Wanted(since=START + 7 * DAY, until=START + 96 * DAY, statuses=(Status.FAILED,)),
    "nothing": Wanted(since=START + DAY, until=START),
    "a provider": Wanted(providers=("other",)),
    "no provider": Wanted(providers=("none",)),
    "a project": Wanted(projects=("acme/app",)),
    "projects": Wanted(projects=("*/app", "acme/[l-m]ib")),
    "hidden projects": Wanted(projects=("acme/new", "acme/old")),
    "a ref": Wanted(refs=("main",)),
    "refs": Wanted(refs=("feature/*", "v?.?", "main")),
    "refs with signs": Wanted(refs=("50%", "release_?", "[[]odd]", "a\\*")),
    "refs of other case": Wanted(refs=("Main", "FEATURE/*")),
    "sets in refs": Wanted(refs=("feature/[ab]*", "[!m]r*")),
    "kinds": Wanted(ref_kinds=(RefKind.TAG, RefKind.CHANGE_REQUEST)),
    "statuses": Wanted(statuses=(Status.FAILED, Status.RUNNING)),
    "sources": Wanted(sources=("web", "schedule")),
    "default branch": Wanted(default_branch_only=True),
    "much": Wanted(
        since=START + 3 * DAY,
        until=START + 50 * DAY,
        providers=("gitlab",),
        projects=("acme/*",),
        refs=("*a*",),
        ref_kinds=(RefKind.BRANCH,),
        statuses=(Status.SUCCESS, Status.FAILED),
        sources=("push", "web"),
        default_branch_only=True,
    ),
}


@pytest.fixture(params=WANTED)
def wanted(request: pytest.FixtureRequest) -> Wanted:
    return WANTED[request.param]


# -- lists ---------------------------------------------------------------------------------------


def pages(history: History, wanted: Wanted, limit: int, **order: Any) -> list[ShownRun]:
    found: list[ShownRun] = []
    after = None
    while True:
        page = history.runs(wanted, limit=limit, after=after, **order)
        found += page.runs
        assert len(page.runs) <= limit
        if page.after is None:
            return found
        assert page.after != after
        after = page.after


def test_runs_are_listed_in_every_order(filled: Truth, wanted: Wanted) -> None:
    for sort, descending in ORDERS:
        expected = filled.page(wanted, sort, descending)
        got = pages(filled.history, wanted, 1000, sort=sort, descending=descending)
        assert got == expected, (sort, descending)


@pytest.mark.parametrize(("sort", "descending"), ORDERS)
def test_pages_of_any_size_give_the_whole_list(filled: Truth, sort: SortKey, descending: bool) -> None:
    expected = filled.page(Wanted(), sort, descending)
    for limit in (23, len(expected) - 1, len(expected)):
        assert pages(filled.history, Wanted(), limit, sort=sort, descending=descending) == expected


def test_a_page_that_ends_with_the_list_says_so(filled: Truth) -> None:
    total = len(filled.runs)
    assert filled.history.runs(Wanted(), limit=total).after is None
    assert filled.history.runs(Wanted(), limit=total - 1).after is not None


def test_pages_neither_repeat_nor_skip_runs_while_new_ones_are_saved(empty: Truth) -> None:
    filled = fill(empty)
    unit = next(iter(filled.units))
    before = filled.page(Wanted(), SortKey.CREATED_AT, True)
    first = filled.history.runs(Wanted(), limit=50)
    filled.save(unit, make_run(5000, created_at=START + 900 * DAY), make_run(5001, created_at=START - DAY))
    second = filled.history.runs(Wanted(), limit=5000, after=first.after)
    assert [*first.runs, *second.runs] == [*before, filled.shown(unit, filled.runs[unit, 5001])]


@pytest.mark.parametrize("after", ["", "x", "AAAA", "é", "a" * 10_000, "WzFd", "=", "bnVsbA", "W10"])
def test_what_is_no_position_is_refused(filled: Truth, after: str) -> None:
    with pytest.raises(BadPosition):
        filled.history.runs(Wanted(), after=after)


def test_a_position_of_another_order_is_refused(filled: Truth) -> None:
    for sort, descending in ORDERS:
        after = filled.history.runs(Wanted(), limit=1, sort=sort, descending=descending).after
        for other in ORDERS:
            if other != (sort, descending):
                with pytest.raises(BadPosition):
                    filled.history.runs(Wanted(), sort=other[0], descending=other[1], after=after)


def test_a_position_that_was_changed_anywhere_is_refused_or_another_place(filled: Truth) -> None:
    after = filled.history.runs(Wanted(), limit=1).after
    assert after
    for index in range(len(after)):
        for character in "A_z=é":
            changed = after[:index] + character + after[index + 1 :]
            try:
                filled.history.runs(Wanted(), limit=1, after=changed)
            except BadPosition:
                continue


# -- one run -------------------------------------------------------------------------------------


def test_one_run_comes_with_its_jobs(filled: Truth) -> None:
    for (unit, run_id), run in filled.runs.items():
        provider, project, _ = filled.units[unit]
        jobs = [
            job for (mine, _), job in sorted(filled.jobs.items()) if mine == unit and job.run_id == run_id
        ]
        assert filled.history.run(provider, project, run_id) == (filled.shown(unit, run), jobs)


@pytest.mark.parametrize(
    "which",
    [
        ("gitlab", "acme/app", 7),
        ("gitlab", "acme/app", 7_000),
        ("gitlab", "acme/app", 2**70),
        ("none", "acme/app", 1),
        ("gitlab", "acme/new", 1),
        ("gitlab", "acme/*", 1),
        ("gitlab", "\0\ud800", 1),
    ],
)
def test_a_run_that_is_not_shown_is_none(filled: Truth, which: tuple[str, str, int]) -> None:
    assert filled.history.run(*which) is None


# -- numbers -------------------------------------------------------------------------------------


def test_a_summary_is_what_counting_gives(filled: Truth, wanted: Wanted) -> None:
    assert filled.history.summary(wanted) == summary_of(filled.wanted(wanted).values())


def test_every_step_of_a_time_series_is_the_summary_of_its_runs(filled: Truth, wanted: Wanted) -> None:
    since, until = START - 2 * DAY, START + 30 * DAY + timedelta(hours=1)
    wanted = replace(wanted, since=since, until=until)
    for hours in (5, 24, 24 * 100):
        step = timedelta(hours=hours)
        steps = filled.history.timeseries(wanted, hours * 3600)
        assert [one.start for one in steps] == [since + n * step for n in range(-((since - until) // step))]
        for one in steps:
            mine = replace(wanted, since=one.start, until=min(until, one.start + step))
            assert one.summary == summary_of(filled.wanted(mine).values())


def test_a_time_series_needs_both_ends_and_bounded_steps(filled: Truth) -> None:
    with pytest.raises(ValueError, match="beginning and end"):
        filled.history.timeseries(Wanted(since=START), 60)
    with pytest.raises(ValueError, match="steps"):
        filled.history.timeseries(Wanted(since=START, until=START + 365 * DAY), 60)
    assert filled.history.timeseries(Wanted(since=START, until=START), 60) == []


def test_projects_come_with_their_numbers_and_newest_run(filled: Truth, wanted: Wanted) -> None:
    states = filled.history.projects(wanted)
    every = replace(Wanted(), providers=wanted.providers, projects=wanted.projects)
    expected = sorted(
        {(project, provider) for provider, project, _ in filled.units.values()}
        & {
            (project, provider)
            for provider, project, _ in filled.units.values()
            if not every.providers or provider in every.providers
            if not every.projects or any(fnmatchcase(project, glob) for glob in every.projects)
        }
    )
    assert [(state.project, state.provider) for state in states] == expected
    by_name = {(project, provider): unit for unit, (provider, project, _) in filled.units.items()}
    for state in states:
        unit = by_name[state.project, state.provider]
        runs = [run for (mine, _), run in filled.wanted(wanted).items() if mine == unit]
        assert state.summary == summary_of(runs)
        on_default = [
            run
            for (mine, _), run in filled.runs.items()
            if mine == unit and filled.shown(unit, run).default_branch
        ]
        assert state.newest == max(on_default, key=lambda run: run.run_id, default=None)
        assert state.default_branch == filled.units[unit][2]


def test_jobs_are_counted_by_name_and_stage(filled: Truth, wanted: Wanted) -> None:
    groups: dict[tuple[int, str, str], dict[int, list[JobRun]]] = {}
    wanted_runs = filled.wanted(wanted)
    for (unit, _), job in sorted(filled.jobs.items()):
        if (unit, job.run_id) in wanted_runs:
            groups.setdefault((unit, job.stage, job.name), {}).setdefault(job.run_id, []).append(job)
    expected = {}
    for (unit, stage, name), by_run in groups.items():
        jobs = [job for some in by_run.values() for job in some]
        known = [job.duration_seconds for job in jobs if job.duration_seconds is not None]
        expected[*filled.units[unit][:2], stage, name] = (
            len(jobs),
            sum(job.status is Status.FAILED for job in jobs),
            len(jobs) - len(by_run),
            sum(
                any(
                    a.status is Status.FAILED and b.status is Status.SUCCESS
                    for a in some
                    for b in some[some.index(a) :]
                )
                for some in by_run.values()
            ),
            pytest.approx(fmean(known)) if known else None,
            max(known, default=None),
        )
    for order in JobOrder:
        states = filled.history.jobs(wanted, order, 1000)
        got = {
            (job.provider, job.project, job.stage, job.name): (
                *(job.runs, job.failed, job.retried, job.flaky, job.avg_duration, job.max_duration),
            )
            for job in states
        }
        assert len(got) == len(states)
        assert got == expected
        assert filled.history.jobs(wanted, order, 3) == states[:3]
    slowest = [job.avg_duration for job in filled.history.jobs(wanted, JobOrder.SLOWEST, 1000)]
    assert all(b is None or (a is not None and a >= b) for a, b in pairwise(slowest))
    failing = [job.failed for job in filled.history.jobs(wanted, JobOrder.FAILING, 1000)]
    retried = [job.retried for job in filled.history.jobs(wanted, JobOrder.RETRIED, 1000)]
    assert (failing, retried) == (sorted(failing, reverse=True), sorted(retried, reverse=True))


# -- delivery ------------------------------------------------------------------------------------


@pytest.mark.parametrize("globs", [("deploy",), ("prod", "lin?"), ("[dp]*",), ("nothing",), ()])
def test_delivery_is_measured_over_finished_jobs_that_deploy(
    filled: Truth, wanted: Wanted, globs: tuple[str, ...]
) -> None:
    wanted = replace(wanted, since=wanted.since or START, until=wanted.until or START + 90 * DAY)
    of_default = filled.wanted(replace(wanted, default_branch_only=True))
    done = sorted(
        (
            (job.finished_at, job.job_id, unit, job)
            for (unit, _), job in filled.jobs.items()
            if (unit, job.run_id) in of_default
            and job.status in (Status.SUCCESS, Status.FAILED)
            and any(fnmatchcase(text, glob) for glob in globs for text in (job.stage, job.name))
        ),
        key=lambda row: row[:2],
    )
    lead, restore = [], []
    for index, (finished_at, _, unit, job) in enumerate(done):
        same = [
            later
            for later, _, other, next_ in done[index + 1 :]
            if (other, next_.stage, next_.name) == (unit, job.stage, job.name)
            and next_.status is Status.SUCCESS
        ]
        if job.status is Status.SUCCESS:
            lead.append((finished_at - filled.runs[unit, job.run_id].created_at).total_seconds())
        elif same:
            restore.append((same[0] - finished_at).total_seconds())
    failed = sum(job.status is Status.FAILED for *_, job in done)
    dora = filled.history.dora(wanted, globs)
    assert (dora.deployments, dora.failed_deployments) == (len(done), failed)
    assert dora.days == max(0, (wanted.until - wanted.since) / DAY)
    assert dora.deployments_per_day == (len(done) / dora.days if dora.days else 0)
    assert dora.lead_time_seconds == (median(lead) if lead else None)
    assert dora.time_to_restore_seconds == (median(restore) if restore else None)
    assert dora.change_failure_rate == (failed / len(done) if done else None)


# -- the version ---------------------------------------------------------------------------------


def test_the_version_is_another_one_after_every_change_and_only_then(
    empty: Truth, open_store: Callable[[], SqlStore]
) -> None:
    unit, other = list(empty.units)[:2]
    providers = dict(PROVIDERS)
    history = open_store().history(lambda: providers)
    store, seen = empty.store, [history.version()]

    def changed(what: Callable[[], Any]) -> None:
        what()
        assert history.version() not in seen
        assert history.version() == history.version()
        seen.append(history.version())

    changed(lambda: empty.save(unit, make_run(1), make_run(2)))
    empty.save(unit, make_run(1), cursor="next")
    assert history.version() == seen[-1]
    changed(lambda: empty.save(other, make_run(1), make_run(2)))
    changed(lambda: empty.save(unit, make_job(1)))
    changed(lambda: empty.save(unit, deleted_runs=(2,)))
    changed(lambda: empty.save(unit, make_run(3, ref="x"), make_run(4, ref="x", end=DAY.total_seconds())))
    changed(lambda: store.prune(at(3600)))
    units = [Unit(name, name, default_branch=branch) for target, name, branch in PROJECTS if target == "one"]
    changed(lambda: store.register("one", units[1:], backfill_days=0, now=START))
    changed(lambda: store.register("one", units[:1] + units[2:], backfill_days=0, now=START))
    changed(lambda: providers.pop("two"))
    changed(lambda: providers.update(one="github"))
