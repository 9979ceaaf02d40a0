"""What ``check --online`` tells of query files: what each query gave, what it costs, and what is wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from typing import Final

from prometheus_client.utils import floatToGoString

from collectors.postgres.costs import Cost, cost_of
from collectors.postgres.database import Database
from collectors.postgres.dsn import host_and_database
from collectors.postgres.errors import ConnectionLost, Unreachable
from collectors.postgres.plan import Job
from collectors.postgres.series import Yield
from collectors.postgres.settings import DatabaseSettings
from collectors.postgres.spec import Metric, Query
from collectors.postgres.standing import FileStanding, Standing
from exporter.families import Distribution, Family, Labels, Sample, Stamped

_EXAMPLES: Final = 3
_MOST_SCANS: Final = 3
_VALUE_CHARACTERS: Final = 40
_FILTER_CHARACTERS: Final = 120
_NAME_CHARACTERS: Final = 48


@dataclass(slots=True)
class _Table:
    """The columns of the report, as wide as the longest name needs."""

    width: int = 0

    def row(self, indent: int, name: str, *cells: str) -> str:
        widths = (10, 9, 9, 14, 13)
        right = "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=False))
        return f"{' ' * indent + name:<{self.width}}{right}".rstrip()


@dataclass(frozen=True, slots=True)
class _Given:
    """What one metric of a query got: ``samples``, repeated ones too, which make ``series``."""

    metric: Metric
    family: Family
    samples: Sequence[Sample]

    @property
    def series(self) -> int:
        return _series(self.family, (sample.labels for sample in self.samples))


@dataclass(slots=True)
class Explainer:
    """Reports on one database after the other; families and their caps are common to all of them.

    ``cap`` is how many series one family may have.
    """

    families: Mapping[str, Family]
    cap: int
    _shown: dict[Family, dict[Labels, str]] = field(default_factory=lambda: defaultdict(dict))

    def explain(
        self,
        database: Database,
        settings: DatabaseSettings,
        standings: Sequence[FileStanding],
        statement_timeout: Callable[[Job], float],
    ) -> Iterator[str]:
        """The lines for the files *standings* of *database*, which ran in a rehearsal; network I/O."""
        dsn = settings.dsn.get_secret_value() if settings.dsn is not None else ""
        yield f"  database {database.name} ({host_and_database(dsn)})"
        names = [name for standing in standings for name in self._names(standing)]
        table = _Table(max((min(len(name), _NAME_CHARACTERS) + 8 for name in names), default=0))
        yield table.row(4, "query", "rows", "seconds", "series", "plan cost", "rows planned")
        for standing in standings:
            yield f"    {standing.job.file.path.name}"
            costs = _costs(database, standing, statement_timeout(standing.job))
            for name, query in standing.job.queries:
                yield from self._query(table, standing.job, name, query, standing.queries[name], costs)

    def _names(self, standing: FileStanding) -> Iterator[str]:
        """All that stands in the first column."""
        yield from standing.queries
        for metric in standing.job.file.metrics:
            yield self.families[metric.name].exposed_name

    def _query(
        self,
        table: _Table,
        job: Job,
        name: str,
        query: Query,
        standing: Standing,
        costs: Mapping[str, Cost | None],
    ) -> Iterator[str]:
        """The lines of one query: its row, those of its metrics, examples, and what is wrong."""
        found = standing.found
        metrics = {metric.name: metric for metric in job.file.metrics if metric.query is query}
        given = [self._given(metric, job, found) for metric in metrics.values()]
        yield table.row(
            6,
            name,
            "failed" if found is None else f"{found.rows:,}",
            "-" if standing.seconds is None else f"{standing.seconds:.3f}",
            "-" if found is None else f"{sum(one.series for one in given):,}",
            *_cells(costs, name),
        )
        if found is not None:
            # The row above says it all of a query with a single metric of its name.
            for one in given if [one.family.exposed_name for one in given] != [name] else ():
                yield table.row(8, one.family.exposed_name, "", "", f"{one.series:,}")
            for line in _examples(given):
                yield f"          {line}"
        if standing.error:
            yield f"        failed: {standing.error}"
        elif found is None:
            yield "        failed: it did not run"
        for warning in chain(
            self._warnings(f"{job.key}, query {name}", given, found), _scans(costs.get(name))
        ):
            yield f"        warning: {warning}"

    # -- series --------------------------------------------------------------------------------

    def _given(self, metric: Metric, job: Job, found: Yield | None) -> _Given:
        """What *metric* got; of events, one sample for each set of labels."""
        family = self.families[metric.name]
        if found is None:
            return _Given(metric, family, ())
        if not metric.once:
            samples = [*found.samples.get(family, ()), *found.surplus.get(family, ())]
            return _Given(metric, family, samples)
        totals: dict[Labels, float] = defaultdict(float)
        for event in found.observations:
            if event.family is family:
                totals[event.labels] += 1 if family.buckets else event.value
        samples = []
        for labels, value in totals.items():
            own = {str(label): text for label, text in zip(labels[::2], labels[1::2], strict=True)}
            named = {**job.labels, **dict(metric.static_labels), **own}
            samples.append(Sample(tuple(named.get(label) for label in family.labels), value))
        return _Given(metric, family, samples)

    def _warnings(self, here: str, given: Sequence[_Given], found: Yield | None) -> Iterator[str]:
        for one in given:
            name, most = one.family.exposed_name, one.metric.max_series
            if most is not None and one.series > most:
                yield (
                    f"{name} would have {one.series:,} series, and its max_series is {most:,}: the rest is"
                    " dropped; aggregate further, or raise max_series"
                )
            yield from self._repeated(one, here)
            in_all = _series(one.family, self._shown[one.family])
            if in_all > self.cap and one.samples:
                yield (
                    f"{name} would have {in_all:,} series with this query, and metrics.max_series_per_family"
                    f" is {self.cap:,}: the rest is dropped; aggregate further, or raise it"
                )
        if found is not None and found.nulls:
            yield f"{_many(found.nulls, 'NULL value')} skipped; on_null: zero or nan would show them"

    def _repeated(self, given: _Given, here: str) -> Iterator[str]:
        """Tell which samples repeat a series, and note which query each series is from."""
        repeated: Counter[str] = Counter()
        owners = self._shown[given.family]
        for sample in given.samples:
            if sample.labels in owners:
                repeated[owners[sample.labels]] += 1
            owners.setdefault(sample.labels, here)
        name = given.family.exposed_name
        for owner, count in repeated.items():
            if owner == here:
                yield (
                    f"{name}: {_many(count, 'duplicate')} dropped: rows with the labels of an earlier one;"
                    " add the column that tells them apart to key_labels, or aggregate"
                )
            else:
                yield f"{name}: {_many(count, 'duplicate')} dropped: series that {owner} gives already"


def _series(family: Family, labels: Iterable[Labels]) -> int:
    """How many series samples with *labels* are; a histogram has its buckets, +Inf, count and sum."""
    return len(set(labels)) * (len(family.buckets) + 3 if family.buckets else 1)


# -- plans ---------------------------------------------------------------------------------------


def _costs(database: Database, standing: FileStanding, statement_timeout: float) -> dict[str, Cost | None]:
    """What the planner says, ``query -> its cost``; those it was not asked about are missing."""
    costs: dict[str, Cost | None] = {}
    if all(one.seconds is None for one in standing.queries.values()):
        return costs  # the database is out of reach: the next attempt would only take as long again
    try:
        with database.snapshot(statement_timeout=statement_timeout, discard=True) as snapshot:
            for name, query in standing.job.queries:
                costs[name] = cost_of(snapshot, query)
    except (Unreachable, ConnectionLost):
        pass
    return costs


def _cells(costs: Mapping[str, Cost | None], name: str) -> tuple[str, str]:
    cost = costs.get(name)
    if cost is not None:
        return f"{cost.total:,.2f}", f"{cost.rows:,}"
    return ("no plan" if name in costs else "not planned"), "-"


def _scans(cost: Cost | None) -> Iterator[str]:
    scans = cost.scans if cost else ()
    for scan in scans[:_MOST_SCANS]:
        reads = f"reads the whole table {scan.table} ({scan.rows:,} rows, estimated)"
        if scan.filter:
            wanted = _short(scan.filter, _FILTER_CHARACTERS)
            yield f"{reads}; an index on what it filters by may help: {wanted}"
        else:
            yield f"{reads}, without a filter; if it needs only some of them, say which, and index that"
    if len(scans) > _MOST_SCANS:
        yield f"reads {_many(len(scans) - _MOST_SCANS, 'more large table')} whole"


# -- text ----------------------------------------------------------------------------------------


def _examples(given: Sequence[_Given]) -> list[str]:
    """A few samples as lines of the exposition, of every metric one before any has two."""
    rows = [[_line(one.family, sample) for sample in one.samples[:_EXAMPLES]] for one in given]
    in_turn = (line for tier in zip_longest(*rows) for line in tier if line is not None)
    return list(islice(in_turn, _EXAMPLES))


def _line(family: Family, sample: Sample) -> str:
    """*sample* as in the exposition, long label values cut."""
    name = f"{family.name}_count" if family.buckets else family.exposed_name
    labels = ",".join(
        f'{label}="{_escaped(text)}"'
        for label, text in sorted(zip(family.labels, sample.labels, strict=True))
        if text is not None
    )
    return f"{name}{{{labels}}} {_value(sample)}" if labels else f"{name} {_value(sample)}"


def _value(sample: Sample) -> str:
    """The number, a histogram's count; with its time if it has one."""
    value = sample.value
    if isinstance(value, Distribution):
        return _number(sum(value.counts))
    if isinstance(value, Stamped):
        return f"{_number(value.value)} {value.milliseconds}"
    return _number(value)


def _number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _escaped(text: str) -> str:
    return _short(text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\""), _VALUE_CHARACTERS)


def _short(text: str, most: int) -> str:
    """*text* on one line, without what might steer a terminal."""
    plain = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
