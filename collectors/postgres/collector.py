"""The PostgreSQL collector: query files on their own rhythm, each run in one snapshot of its database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Self
from zoneinfo import ZoneInfo

from prometheus_client.metrics_core import Metric as ClientMetric

from collectors.postgres.claims import LIMIT, Claims
from collectors.postgres.cron import Cron
from collectors.postgres.families import OWN, own_labels
from collectors.postgres.plan import Job, Plan, make_plan
from collectors.postgres.settings import PostgresConfig
from collectors.postgres.spec import Metric
from exporter.contract import Batch, Collector, Context, DemoSource, Discovery, Position, Schedule, Unit
from exporter.errors import ConfigError, Problem, SourceError
from exporter.families import Family, Sample, Samples
from exporter.model.views import Total, UnitView

if TYPE_CHECKING:
    from collectors.postgres.database import Database
    from collectors.postgres.listening import Listeners
    from collectors.postgres.running import Run
    from collectors.postgres.standing import FileStanding

_RETRY_SECONDS = 2  # after a lost connection; doubles with every further failure
_LONGEST_RETRY = 300.0
_KEEP_INTERVALS = 3
_DISCOVER_SECONDS = 3600


class Postgres(Collector[PostgresConfig]):
    """Results of SQL queries as metrics: pull requests and reports, and any query file you add."""

    name: ClassVar[str] = "postgres"
    config_model: ClassVar[type[PostgresConfig]] = PostgresConfig
    families: ClassVar[tuple[Family, ...]] = OWN
    unit_noun: ClassVar[str] = "query files"

    def __init__(self, config: PostgresConfig, context: Context) -> None:
        super().__init__(config, context)
        # Imported late: commands that only list what there is need no database driver.
        from collectors.postgres.listening import Listeners
        from collectors.postgres.series import Shaper
        from collectors.postgres.standing import FileStanding

        self._plan, self._databases = self._prepared()
        self._standings: dict[str, FileStanding] = {
            key: FileStanding(job, self._keep_last_for(job)) for key, job in self._plan.jobs.items()
        }
        self._shapers = {
            key: Shaper(job, self._plan.families, self._databases[job.database].zone, context.page)
            for key, job in self._plan.jobs.items()
        }
        kept = self._plan.kept
        self._claims = Claims(self._plan.shared - kept, context.page)
        self._total_claims = Claims(self._plan.shared & kept, context.page)
        self._listeners: Listeners = Listeners(self._plan.jobs.values(), self._databases, context)

    def _prepared(self) -> tuple[Plan, dict[str, Database]]:
        """What to run, and where; raises `ConfigError` with what is wrong with either."""
        plan = Plan({}, {})
        databases: dict[str, Database] = {}
        problems: list[Problem] = []
        try:
            plan = make_plan(self.config)
        except ConfigError as error:
            problems += error.problems
        for name in self.config.databases:
            try:
                databases[name] = self._database(name)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return plan, databases

    def _database(self, name: str) -> Database:
        from collectors.postgres.database import Database

        settings = self.config.databases[name]
        try:
            if settings.dsn is None:
                raise ValueError("is missing: set it, or dsn_file, or the variable DATABASE_URL")
            return Database(
                name,
                settings,
                application_name="ci-exporter",
                zone=self.context.timezone,
                stopping=self.context.stopping,
            )
        except ValueError as error:
            raise ConfigError([Problem(f"collectors.postgres.databases.{name}.dsn", str(error))]) from None

    def take_over(self, other: Self) -> None:
        """Keep the last results of queries that are as they were, for as long as they may be shown.

        Another server's are not kept, unlike those of one that only lets us in with another password.
        """
        families = set(self._plan.families.values())
        for key, standing in self._standings.items():
            before = other._standings.get(key)
            if before and self._place(standing.job.database) == other._place(standing.job.database):
                standing.take_over(before, families)
        self._claims.take_over(other._claims, self._plan.jobs)
        self._total_claims.take_over(other._total_claims, self._plan.jobs)
        for key, standing in self._standings.items():
            self._claims.hold(key, standing.samples())

    def _place(self, database: str) -> str:
        from collectors.postgres.dsn import host_and_database

        dsn = self.config.databases[database].dsn
        return host_and_database(dsn.get_secret_value()) if dsn is not None else ""

    # -- what there is, and when ---------------------------------------------------------------

    @property
    def declared(self) -> tuple[Family, ...]:
        """The families of the query files, then those about the queries."""
        return (*self._plan.families.values(), *OWN)

    @classmethod
    def catalogue(cls) -> tuple[Family, ...]:
        """The families of the shipped query files, then those about the queries."""
        from collectors.postgres.plan import shipped_families

        return (*shipped_families(), *OWN)

    def discover(self) -> Discovery:
        """One unit for each query file of each database."""
        if not self.context.rehearsal:
            self._listeners.start()
        return Discovery(tuple(Unit(key, key, lane=job.database) for key, job in self._plan.jobs.items()))

    def lane_capacity(self, lane: str) -> int:
        """As many files at once as the database may have connections."""
        files = sum(job.database == lane for job in self._plan.jobs.values())
        return self.config.databases[lane].connections_for(files)

    @property
    def schedule(self) -> Schedule:
        """How often files run that say nothing of it."""
        interval = self.config.interval_seconds
        return Schedule(interval, interval, _DISCOVER_SECONDS, min(interval, _RETRY_SECONDS))

    def schedule_of(self, unit: Unit) -> Schedule:
        """How often the file of *unit* runs."""
        interval = self._interval(self._plan.jobs[unit.key])
        longest = max(interval, 1.0) if self._plan.jobs[unit.key].file.schedule is None else _LONGEST_RETRY
        return Schedule(interval, longest, _DISCOVER_SECONDS, min(interval, _RETRY_SECONDS))

    def next_poll(self, unit: Unit, now: datetime) -> datetime | None:
        """The next instant of the file's cron expression, if it has one."""
        schedule = self._plan.jobs[unit.key].file.schedule
        return self._fires(schedule, now) if schedule else None

    def _fires(self, schedule: str, after: datetime) -> datetime | None:
        return Cron(schedule, ZoneInfo(self.context.timezone)).after(after)

    def _interval(self, job: Job) -> float:
        """Seconds between two runs of the file; for a cron expression, between the next two."""
        if job.file.schedule:
            first = self._fires(job.file.schedule, self.context.clock.now())
            second = self._fires(job.file.schedule, first) if first else None
            return (second - first).total_seconds() if first and second else 86_400.0
        return job.file.interval or self.config.interval_seconds

    def _until_next(self, job: Job) -> float:
        """Seconds until the file runs again anyway."""
        now = self.context.clock.now()
        instant = self._fires(job.file.schedule, now) if job.file.schedule else None
        return (instant - now).total_seconds() if instant else self._interval(job)

    def _keep_last_for(self, job: Job) -> float | Callable[[float], float]:
        """Seconds from a success; for a cron expression until the third time after it, whenever that is."""
        kept = job.file.keep_last_for or self.config.keep_last_for
        if kept or not job.file.schedule:
            return kept or _KEEP_INTERVALS * self._interval(job)
        return partial(self._three_runs_after, job.file.schedule)

    def _three_runs_after(self, schedule: str, success: float) -> float:
        end = start = datetime.fromtimestamp(success, UTC)
        for _ in range(_KEEP_INTERVALS):
            end = self._fires(schedule, end) or end + timedelta(days=1)
        return (end - start).total_seconds()

    def _statement_timeout(self, job: Job) -> float:
        return job.file.statement_timeout or self.config.statement_timeout

    # -- running a file ------------------------------------------------------------------------

    def poll(self, unit: Unit, position: Position) -> Batch:
        """Run the file of *unit*: its queries one after the other, all in one snapshot."""
        from collectors.postgres.running import run_file

        job, standing = self._plan.jobs[unit.key], self._standings[unit.key]
        run = run_file(
            self._databases[job.database],
            standing,
            self._shapers[unit.key],
            self.context.clock,
            statement_timeout=self._statement_timeout(job),
            rehearsal=self.context.rehearsal,
        )
        failure = None
        self._count_failures(run, standing)
        if standing.errors:
            # A statement that fails is run again at its own time; only a lost connection is worth hurrying.
            wait = None if run.lost else self._until_next(job)
            failure = SourceError("; ".join(standing.errors), retry_after=wait)
        return Batch(
            samples=self._claims.settle(unit.key, standing.samples()),
            observations=tuple(run.observations),
            failure=failure,
            answered=run.reached,
        )

    def _count_failures(self, run: Run, standing: FileStanding) -> None:
        """Tell the engine which calls failed: each query, but a lost connection once for all of them."""
        for _ in standing.errors[:1] if run.lost else standing.errors:
            self.context.work.client_error("query" if run.reached else "connect")

    def unit_samples(self, view: UnitView) -> Samples | None:
        """The totals of events that the file of this unit brought; ``None`` if it counts none."""
        job = self._plan.jobs.get(view.key)
        once = [metric for metric in job.file.metrics if metric.once] if job else []
        if job is None or not once:
            return None
        found: dict[Family, list[Sample]] = {}
        for metric in once:
            samples = self._totals_of(metric, job, view)
            if surplus := samples[metric.max_series :] if metric.max_series else []:
                self.context.page.note_dropped(self._plan.families[metric.name], LIMIT, surplus)
                samples = samples[: metric.max_series]
            found.setdefault(self._plan.families[metric.name], []).extend(samples)
        return self._total_claims.settle(view.key, found)

    def _totals_of(self, metric: Metric, job: Job, view: UnitView) -> list[Sample]:
        """What was counted for *metric*, in the order of the labels."""
        family = self._plan.families[metric.name]
        samples = []
        for total in view.totals:
            labels = _labels_of(total, metric, family)
            if labels is not None:
                named = {**job.labels, **labels}
                value = family.distribution(total.buckets, total.value) if total.buckets else total.value
                samples.append(Sample(tuple(named.get(label) for label in family.labels), value))
        return sorted(samples, key=lambda sample: [label or "" for label in sample.labels])

    def explain(self) -> Iterator[str]:
        """What each query gave in the round before, what it costs, and what is wrong with it; network I/O."""
        from collectors.postgres.explaining import Explainer

        explainer = Explainer(self._plan.families, self.context.max_series_per_family)
        for name, settings in self.config.databases.items():
            standings = [one for one in self._standings.values() if one.job.database == name]
            yield from explainer.explain(self._databases[name], settings, standings, self._statement_timeout)

    @classmethod
    def start_demo(cls, directory: Path) -> DemoSource:
        """Start a PostgreSQL with pull requests that come and go; it ends with this process."""
        # Imported here: only a demo needs it.
        from collectors.postgres.standin.demo import demo_source

        return demo_source(directory)

    def collect(self) -> Iterator[ClientMetric]:
        """Everything it exposes now, from memory."""
        return self.context.page.collect()

    def close(self) -> None:
        """Let go of all connections."""
        from collectors.postgres.database import CLOSE_SECONDS

        self._listeners.close()
        # All databases together: the program must end in time, however many of them hang.
        until = monotonic() + CLOSE_SECONDS
        for database in self._databases.values():
            database.close(max(0.0, until - monotonic()))


def _labels_of(total: Total, metric: Metric, family: Family) -> dict[str, str | None] | None:
    """The labels of *total* by name; ``None`` if it is none of *metric* as the file says it now."""
    if total.family != family.name or (total.buckets is None) != (not family.buckets):
        return None
    labels = dict(zip(total.labels[::2], total.labels[1::2], strict=True))
    if labels.keys() != set(own_labels(metric)) or not dict(metric.static_labels).items() <= labels.items():
        return None
    return {str(name): value for name, value in labels.items()}
