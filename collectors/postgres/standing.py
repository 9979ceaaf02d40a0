"""How one query file stands: what each of its queries gave last, and for how long that may be shown."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from collectors.postgres.families import QUERY_DURATION, QUERY_LAST_SUCCESS, QUERY_ROWS, QUERY_SUCCESS
from collectors.postgres.plan import Job
from collectors.postgres.series import Yield
from collectors.postgres.spec import Metric, Query
from exporter.families import Family, Sample

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Standing:
    """One query. ``succeeded`` is monotonic, ``gave`` the same in Unix seconds; no ``error`` if all is well.

    Both are of the run that gave ``samples``, ``last_success`` of one that left no row out.

    ``told`` is whether the log warned of the error. ``found`` is all that its last run gave, kept only in a
    rehearsal.
    """

    samples: Mapping[Family, Sequence[Sample]] = field(default_factory=dict)
    success: bool = False
    succeeded: float | None = None
    gave: float | None = None
    last_success: float | None = None
    seconds: float | None = None
    rows: int | None = None
    error: str = ""
    told: bool = False
    found: Yield | None = None


class FileStanding:
    """The queries of one job; used by one thread at a time.

    *keep_last_for* is in seconds from a query's last success; where that depends on when it was, a function
    of its Unix time.
    """

    def __init__(self, job: Job, keep_last_for: float | Callable[[float], float]) -> None:
        self.job = job
        self._keep = keep_last_for
        self.queries = {name: Standing() for name, _ in job.queries}

    def succeeded(self, name: str, found: Yield, seconds: float, now: float, wall: float) -> None:
        """Query *name* ran; rows that were left out make it a failure, but what it gave is shown."""
        one = self.queries[name]
        one.samples, one.rows, one.seconds = found.samples, found.rows, seconds
        one.succeeded, one.gave = now, wall
        if found.problems:
            rest = found.bad_rows - len(found.problems)
            more = f" (and {rest} more rows)" if rest else ""
            who = f"database {self.job.database}, query {name}"
            self._fail(name, f"{who}: rows left out: {'; '.join(found.problems)}{more}")
            return
        if one.error and one.told:
            log.info("query succeeds again", extra=self._where(name))
        one.success, one.last_success, one.error = True, wall, ""

    def failed(self, name: str, error: str, seconds: float | None, now: float) -> None:
        """Query *name* gave nothing; what it gave last stays until it is too old.

        *seconds* is how long it ran, ``None`` if it could not.
        """
        one = self.queries[name]
        if seconds is not None:
            one.seconds = seconds
        if one.samples and one.succeeded is not None and now - one.succeeded >= self._kept(one):
            one.samples = {}
            log.warning("series dropped, the query has failed for too long", extra=self._where(name))
        self._fail(name, error, ran=seconds is not None)

    def _kept(self, one: Standing) -> float:
        return self._keep(one.gave or 0.0) if callable(self._keep) else self._keep

    def _fail(self, name: str, error: str, *, ran: bool = True) -> None:
        one = self.queries[name]
        one.success = False
        if error != one.error:
            # When the database is away, that is told once for the file, not once more for each query.
            level = logging.WARNING if ran else logging.DEBUG
            log.log(level, "query failed", extra={**self._where(name), "error": error})
        one.error, one.told = error, ran

    def _where(self, name: str) -> dict[str, str]:
        return {"database": self.job.database, "query": name, "file": self.job.file.path.name}

    @property
    def errors(self) -> list[str]:
        """What is wrong now, each text once."""
        return list(dict.fromkeys(one.error for one in self.queries.values() if one.error))

    def take_over(self, other: FileStanding, families: Set[Family]) -> None:
        """Go on where *other* stands, the same file before a reload, with every query that is as it was.

        Only *families* can be shown now.
        """
        if self.job.labels != other.job.labels:
            return
        before = dict(zip(_places(other.job), other.job.queries, strict=True))
        for place, (name, query) in zip(_places(self.job), self.job.queries, strict=True):
            old_name, old_query = before.get(place, ("", None))
            if old_query is not None and self._meaning(query) == other._meaning(old_query):
                one = other.queries[old_name]
                if one.samples.keys() <= families:
                    self.queries[name] = replace(one)

    def _meaning(self, query: Query) -> tuple[Query, list[Metric]]:
        """*query* and its metrics, wherever in the file they stand."""
        plain = replace(query, line=0)
        metrics = [metric for metric in self.job.file.metrics if metric.query is query]
        return plain, [replace(metric, query=plain, line=0) for metric in metrics]

    def samples(self) -> dict[Family, Sequence[Sample]]:
        """All that is to be shown, the queries' own series included."""
        found: dict[Family, Sequence[Sample]] = {}
        for one in self.queries.values():
            for family, samples in one.samples.items():
                before = found.get(family)
                found[family] = [*before, *samples] if before else samples
        for family, sample in self._own():
            found[family] = [*found.get(family, ()), sample]
        return found

    def _own(self) -> Iterator[tuple[Family, Sample]]:
        for name, one in self.queries.items():
            labels = (self.job.database, name)
            yield QUERY_SUCCESS, Sample(labels, float(one.success))
            for family, value in (
                (QUERY_LAST_SUCCESS, one.last_success),
                (QUERY_DURATION, one.seconds),
                (QUERY_ROWS, one.rows),
            ):
                if value is not None:
                    yield family, Sample(labels, float(value))


def _places(job: Job) -> list[tuple[str, int]]:
    """Which query of its name each one is: what it is called may depend on other files."""
    seen: Counter[str] = Counter()
    places = []
    for query in job.file.queries:
        seen[query.name] += 1
        places.append((query.name, seen[query.name]))
    return places
