"""What a collector is, and what it hands over: the contract between sources and the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from prometheus_client.metrics_core import Metric

from exporter.collectorconfig import CollectorConfig, PolledConfig
from exporter.errors import SourceError
from exporter.families import Family, Labels, Samples
from exporter.lending import ApiObserver, Context, Page
from exporter.model.events import Event
from exporter.model.runs import JobRun, PipelineRun, RefKind
from exporter.model.views import UnitView

# The parts that have modules of their own are to be imported from here, too.
__all__ = [
    "ApiObserver",
    "Backfills",
    "Batch",
    "Collector",
    "CollectorConfig",
    "Context",
    "DemoSource",
    "Demonstrates",
    "Discovery",
    "Explains",
    "Known",
    "Observation",
    "Page",
    "PolledConfig",
    "Position",
    "Schedule",
    "Trouble",
    "Unit",
    "UnitTrouble",
]


class Trouble(StrEnum):
    """Why one unit cannot be read, or is not what the operator named; a label value."""

    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CI_DISABLED = "ci_disabled"
    EMPTY = "empty_repository"
    MOVED = "moved"
    BAD_DATA = "bad_data"
    TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True)
class UnitTrouble:
    """One unit that needs the operator's eye; ``name`` is what the configuration or source calls it."""

    name: str
    reason: Trouble
    detail: str


@dataclass(frozen=True, slots=True)
class Unit:
    """What one poll asks about: a project of a CI system, a query file of a database.

    Identity: ``key``, the source's own lasting id. ``name`` becomes the ``project`` label and may
    change. ``created_at`` is ``None`` where the source does not tell. Units without a ``lane`` share the
    ``engine.capacity`` threads of their collector. Those of one lane are polled on threads of their own
    (:meth:`Collector.lane_capacity` many), so that of several servers of a collector none delays another.
    """

    key: str
    name: str
    created_at: datetime | None = None
    default_branch: str = ""
    web_url: str = ""
    lane: str = ""


@dataclass(frozen=True, slots=True)
class Discovery:
    """Every unit there is now; one that is missing here has vanished, and its series with it."""

    units: tuple[Unit, ...]
    troubles: tuple[UnitTrouble, ...] = ()


class Observation(NamedTuple):
    """One event at a source that keeps no runs: an amount for a counter, or a value for a histogram.

    It adds to the persisted total of *family* and *labels* (as :meth:`Collector.unit_samples` wants them
    back; without the unit's name, which may change) unless one with its ``key`` did so before; ``key`` is
    any text that tells this event from all others of the family. What no total can take is left out: NaN,
    infinity, and an amount below zero for a counter. Once ``remember_until`` has passed, the same event would
    count again: the collector must not come with it then. ``None`` is remembered for ever.
    """

    family: Family
    labels: Labels
    value: float
    key: str
    remember_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one poll brought, saved whole or not at all.

    Runs and jobs may repeat what is already known. ``deleted_runs`` no longer exist at the source.
    ``refs``, when given, are all refs of that kind that still exist as of ``refs_read_at``; the state
    of others is forgotten. ``cursor`` replaces the stored one. ``more`` asks to be polled again at
    once because news is waiting. ``busy`` says that something is under way, so that a poll without news
    is no reason to poll less often. ``unit`` carries the unit's changed facts (a rename, say).
    ``samples`` are shown as they are, for collectors that keep no runs, next to what
    :meth:`Collector.unit_samples` makes of the totals that ``observations`` add to; ``quiet`` ones are the
    same as before, so that with nothing else the poll is one without news. ``failure`` says why the poll
    brought less than it should: the rest is saved and shown all the same, and the poll counts as failed;
    ``answered`` is false if the source did not even answer. ``events`` go to the sinks, each once. What a
    batch of ``history`` holds happened before anybody watched: it is counted as usual, and told to nobody.
    ``given_up`` are totals of what is gone for good: deleted, and begun anew should it ever come back.
    """

    cursor: str | None = None
    runs: tuple[PipelineRun, ...] = ()
    jobs: tuple[JobRun, ...] = ()
    deleted_runs: tuple[int, ...] = ()
    refs: Mapping[RefKind, frozenset[str]] = field(default_factory=dict)
    refs_read_at: datetime | None = None
    more: bool = False
    busy: bool = False
    unit: Unit | None = None
    samples: Samples | None = None
    quiet: bool = False
    observations: tuple[Observation, ...] = ()
    given_up: tuple[tuple[Family, Labels], ...] = ()
    trouble: UnitTrouble | None = None
    failure: SourceError | None = None
    answered: bool = True
    waited_out: bool = False
    events: tuple[Event, ...] = ()
    history: bool = False


class Known(Protocol):
    """What the store already has of one unit; read-only, so that a poll can skip what did not change."""

    def updated_at(self, run_ids: Collection[int]) -> dict[int, datetime]:
        """``run id -> updated_at`` of those *run_ids* that are stored and need no further detail."""
        ...

    def unfinished(self) -> list[PipelineRun]:
        """Stored runs that are not finished, oldest first."""
        ...

    def incomplete(self, limit: int) -> list[PipelineRun]:
        """The newest stored runs of which only a list entry was read, at most *limit*."""
        ...


@dataclass(frozen=True, slots=True)
class Position:
    """Where a unit's polling stands.

    ``cursor`` is what the last saved batch said, ``None`` at the first poll. ``counts_from`` is the
    instant from which finished runs are counted, and so how far back a first poll must reach.
    """

    cursor: str | None
    counts_from: datetime
    known: Known


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often: seconds between polls of a busy unit, of an idle one, and between two discoveries.

    ``retry`` is the wait after a first failed poll, which doubles with each further one up to the maximum;
    as long as ``base`` unless set.
    """

    base: float
    maximum: float
    discover: float = 3600
    retry: float | None = None


C = TypeVar("C", bound=CollectorConfig)


class Collector(ABC, Generic[C]):
    """Polled in rounds (I/O allowed), read in scrapes (memory only).

    A collector that keeps runs is given state by the engine: what it polls is saved, counted and
    rendered, and :meth:`collect` reads the result. One that only shows numbers returns them as
    ``Batch.samples``, or overrides :meth:`collect` and is not polled at all. ``unit_noun`` is what people
    call its units. ``streams`` are those of the events that it may read.
    """

    name: ClassVar[str]
    config_model: ClassVar[type[CollectorConfig]]
    families: ClassVar[tuple[Family, ...]]
    provider: ClassVar[str] = ""
    polled: ClassVar[bool] = True
    job_state: ClassVar[bool] = False
    streams: ClassVar[frozenset[str]] = frozenset()
    unit_noun: ClassVar[str] = "projects"

    def __init__(self, config: C, context: Context) -> None:
        self.config = config
        self.context = context

    @property
    def target(self) -> str:
        """Names the source instance, so that ids of two instances never mix in one store."""
        return self.name

    @property
    def schedule(self) -> Schedule:
        """How often to poll; from the configuration where it has these keys."""
        if isinstance(self.config, PolledConfig):
            config = self.config
            return Schedule(
                config.poll_interval_seconds,
                max(config.poll_interval_seconds, config.poll_interval_max_seconds),
                config.rediscover_interval_seconds,
            )
        return Schedule(60, 60, 3600)

    @property
    def backfill_days(self) -> int:
        """Days of history to read and count when a unit is first seen."""
        return self.config.backfill_days if isinstance(self.config, PolledConfig) else 0

    @property
    def declared(self) -> tuple[Family, ...]:
        """Every family that this instance may expose, in order: the class's, and configured ones."""
        return self.families

    def schedule_of(self, unit: Unit) -> Schedule:
        """How often to poll *unit*."""
        return self.schedule

    def next_poll(self, unit: Unit, now: datetime) -> datetime | None:
        """When exactly to poll *unit* after a poll that went well; ``None`` leaves it to the schedule."""
        return None

    def lane_capacity(self, lane: str) -> int:
        """How many units of *lane* may be polled at once; told from memory, whenever one is due."""
        return 1

    def discover(self) -> Discovery:
        """The units to poll; by default a single one named like the collector."""
        return Discovery((Unit(self.name, self.name),))

    def poll(self, unit: Unit, position: Position) -> Batch:
        """Ask for news of *unit*. Network I/O; called from several threads, one per unit at a time."""
        raise TypeError(f"collector {self.name} says that it is polled, but has no poll()")

    @classmethod
    def catalogue(cls) -> tuple[Family, ...]:
        """Every family that it exposes as it is shipped, for the list of all metrics."""
        return cls.families

    @abstractmethod
    def collect(self) -> Iterator[Metric]:
        """Everything it exposes now, from memory."""

    def describe(self) -> Iterator[Metric]:
        """Every family it may ever expose, without samples."""
        for family in self.declared:
            yield family.metric()

    def unit_samples(self, view: UnitView) -> Samples | None:
        """What one unit exposes, from what the store has of it; ``None`` if it keeps nothing there."""
        return None

    def credentials_changed(self) -> bool:
        """Whether the source may be asked again after it refused our credentials; no network I/O."""
        return False

    def take_over(self, other: Self) -> None:
        """Go on from *other*, in whose place a reload puts this one; it may still poll. No network I/O."""

    def close(self) -> None:
        """Give back connections; called once, after the last poll."""


@runtime_checkable
class Explains(Protocol):
    """A collector that can tell more about a try of its source than how many series it brought."""

    def explain(self) -> Iterator[str]:
        """Lines for ``check --online``, after one round; network I/O."""
        ...


@runtime_checkable
class Backfills(Protocol):
    """A collector that can read a past window."""

    def backfill(self, unit: Unit, start: datetime, end: datetime, known: Known) -> Iterator[Batch]:
        """Batches of bounded size that together hold every run updated in [*start*, *end*)."""
        ...


@dataclass(frozen=True, slots=True)
class DemoSource:
    """A running stand-in for a source: its block of configuration, what it is, and how to end it.

    ``alert_rules`` are blocks of configuration too: what people should be told about what it shows.
    ``send_hooks`` has it send webhooks to the URL that it is given, which ends in ``/hooks/``, as the block
    wants them proven; ``None``: it sends none.
    """

    block: Mapping[str, Any]
    title: str
    process_ids: tuple[int, ...]
    alert_rules: tuple[Mapping[str, Any], ...] = ()
    send_hooks: Callable[[str], None] | None = None


@runtime_checkable
class Demonstrates(Protocol):
    """A collector class that brings a stand-in for its source, for ``ci-exporter demo``."""

    @classmethod
    def start_demo(cls, directory: Path) -> DemoSource:
        """Start the stand-in in a process of its own, its files in *directory*; returns when it answers."""
        ...
