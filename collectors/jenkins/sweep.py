"""One look at all of Jenkins, shared by all units: a thousand jobs, one call."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from collectors.jenkins import mapping
from collectors.jenkins.client import JenkinsClient, job_path
from collectors.jenkins.mapping import Build, Item
from collectors.jenkins.settings import JenkinsConfig
from exporter.contract import Context, Trouble, Unit, UnitTrouble
from exporter.errors import BadAnswer, SourceError, UnitUnavailable

_FRESH = 0.75  # of the base interval: a unit that is polled a jittered interval later wants a new look


@dataclass(frozen=True, slots=True)
class Job:
    """What has builds: a plain job, or one branch of a multibranch project.

    ``ref`` is the branch, ``None`` for a plain job. ``name`` is its own, ``full_name`` with all folders.
    ``fault`` says why its newest build cannot be understood.
    """

    name: str
    full_name: str
    ref: str | None
    last: Build | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One unit at one look: ``jobs`` by name; a plain job holds itself alone, under the empty name."""

    unit: Unit
    jobs: Mapping[str, Job]
    at: datetime

    @property
    def multibranch(self) -> bool:
        """Whether each of its jobs is a branch."""
        return "" not in self.jobs

    def signature(self) -> int:
        """Tells whether anything happened between two looks."""
        return hash(
            tuple(
                (name, job.last and (job.last.number, job.last.timestamp, job.last.running, job.last.result))
                for name, job in self.jobs.items()
            )
        )


@dataclass(slots=True)
class Sweep:
    """All units at one look, by key, and what could not be read."""

    units: dict[str, Seen] = field(default_factory=dict)
    troubles: list[UnitTrouble] = field(default_factory=list)


class Sweeper:
    """Takes looks, as few as possible, for several threads.

    A look answers everybody who asks while it is fresh, but nobody twice: who asks again wants news. A
    failed one fails for everybody, too. Units that changed from one look to the next are woken.
    """

    def __init__(self, client: JenkinsClient, config: JenkinsConfig, context: Context) -> None:
        self.units: Mapping[str, Unit] = {}
        self._client = client
        self._config = config
        self._context = context
        self._turn = threading.Lock()
        self._asking: set[str] = set()
        self._served: set[str] = set()
        self._alone: set[str] = set()
        self._sweep: Sweep | None = None
        self._failure: SourceError | None = None
        self._taken_at = 0.0

    def all(self) -> Sweep:
        """Every unit, for a discovery."""
        return self._look("")

    def of(self, unit: Unit) -> Seen:
        """How *unit* is now, or was a moment ago.

        Raises:
            UnitUnavailable: it is not there any more.
        """
        if unit.key in self._alone:
            self._alone.discard(unit.key)
            return self._alone_of(unit)
        seen = self._look(unit.key).units.get(unit.key)
        if seen is None:
            raise UnitUnavailable(f"{unit.name} is not there, or hidden", Trouble.NOT_FOUND)
        return seen

    def ask_alone(self, key: str) -> None:
        """Have the next question for the unit *key* answered by a look at it alone, as it is then."""
        self._alone.add(key)

    def forget(self) -> None:
        """Look anew, whoever asks next."""
        with self._turn:
            self._sweep = self._failure = None

    def _alone_of(self, unit: Unit) -> Seen:
        now = self._context.clock.now()
        body = self._client.items(unit.key, 1)
        self._served.add(unit.key)  # the last look at all is older than this one
        item = mapping.item(body, "", self._context.api.unknown_value, full_name=unit.key)
        return self._seen(item, now)

    def _look(self, key: str) -> Sweep:
        self._asking.add(key)
        try:
            with self._turn:
                if self._is_stale(key):
                    self._take()
                self._served.add(key)
                if self._failure is not None:
                    raise self._failure.with_traceback(None)
                assert self._sweep is not None  # noqa: S101
                return self._sweep
        finally:
            self._asking.discard(key)

    def _is_stale(self, key: str) -> bool:
        age = self._context.clock.monotonic() - self._taken_at
        nothing = self._sweep is None and self._failure is None
        return nothing or key in self._served or age >= _FRESH * self._config.poll_interval_seconds

    def _take(self) -> None:
        """Look anew; the last failure is forgotten."""
        before = self._sweep
        self._served.clear()
        self._taken_at = self._context.clock.monotonic()
        try:
            self._sweep, self._failure = self._read(), None
        except SourceError as error:
            self._failure = error
            return
        self.units = {key: seen.unit for key, seen in self._sweep.units.items()}
        for key, seen in self._sweep.units.items():
            old = before.units.get(key) if before else None
            if old and key not in self._asking and old.signature() != seen.signature():
                self._context.wake(key)

    def _read(self) -> Sweep:
        """Everything there is: a call, or one for each folder that is named."""
        sweep = Sweep()
        now = self._context.clock.now()
        for folder in self._config.folders or ("",):
            try:
                body = self._client.items(folder, self._config.depth)
            except UnitUnavailable as error:
                if not folder:
                    raise SourceError(str(error), permanent=True) from error
                sweep.troubles.append(UnitTrouble(folder, Trouble(error.reason), str(error)))
                continue
            root = mapping.item(body, "", self._context.api.unknown_value, full_name=folder)
            if not folder and root.jobs is None:
                raise BadAnswer("items: this is no list of Jenkins' jobs")
            self._add(sweep, root, now, 0)
        return sweep

    def _add(self, sweep: Sweep, item: Item, now: datetime, level: int) -> None:
        """Add what is in *item*, *level* folders down, and is to be watched."""
        cut = bool(item.jobs) and level >= self._config.depth
        if (item.jobs is None or item.multibranch) and not cut:
            if self._config.selects(item.full_name):
                sweep.units[item.full_name] = self._seen(item, now)
        elif not cut:
            for below in item.jobs or ():
                self._add(sweep, below, now, level + 1)
        else:
            detail = f"there are more than {self._config.depth} levels of folders; set depth, or name folders"
            sweep.troubles.append(UnitTrouble(item.full_name, Trouble.TOO_MANY, detail))

    def _seen(self, item: Item, now: datetime) -> Seen:
        jobs = {job.name: job for job in _jobs(item)}
        url = f"{self._config.url}/{job_path(item.full_name)}"
        return Seen(Unit(item.full_name, item.full_name, None, _usual_branch(jobs), url), jobs, now)


def _jobs(item: Item) -> Iterator[Job]:
    """What has builds in a unit."""
    if not item.multibranch:
        yield Job("", item.full_name, None, item.last, item.fault)
        return
    for branch in item.jobs or ():
        yield Job(branch.name, branch.full_name, mapping.ref_of(branch.name), branch.last, branch.fault)


def _usual_branch(jobs: Mapping[str, Job]) -> str:
    """The branch that is mostly the primary one; empty if there is none of these names."""
    return next((name for name in ("main", "master") if name in jobs), "")
