"""A collector run as the service runs it, on a stand-in whose time only the test moves."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from prometheus_client.parser import text_string_to_metric_families

from collectors._standin.client import StandIn as AnyStandIn
from collectors._standin.times import parse
from collectors.gitlab import (
    GitLab,
    GitLabChanges,
    GitLabDeployments,
    GitLabEvents,
    GitLabRunners,
    GitLabTests,
)
from collectors.gitlab.standin.client import StandIn
from collectors.gitlab.standin.options import Options
from collectors.gitlab.standin.site import Site
from collectors.gitlab.standin.world import World
from exporter.clock import FixedClock
from exporter.contract import Collector, Context
from exporter.errors import ExporterError
from exporter.exposition import Exposition
from exporter.model.events import Event
from exporter.rendering import Format
from exporter.rounds.round import CollectorRounds
from exporter.rounds.visits import Visit
from exporter.runnermetrics import FetchResult
from exporter.selfmetrics import SelfMetrics
from exporter.store.sql import SqlStore
from tests.support.standins import InThread

START = "2026-03-02T08:00:00Z"
PROJECT = "acme/p"
SINK = "kafka"
RETRY_SECONDS = 0.001
Watcher = type[Collector[Any]]


class LocalStandIn(InThread, StandIn):
    """A stand-in GitLab in a thread of this process."""


@contextmanager
def gitlab(**options: Any) -> Iterator[StandIn]:
    """A stand-in without projects of its own that stands still at `START`."""
    known: dict[str, Any] = {"projects": 0, "start": parse(START), **options}
    with LocalStandIn(lambda url: Site(World(Options(**known)), url)) as server:
        yield server


@cache
def _empty_store() -> bytes:
    """A database of this version; making one takes longer than copying it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "runs.db"
        SqlStore(f"sqlite:///{file}").close()
        return file.read_bytes()


class Exporter:
    """One process of the exporter, as far as polling goes: collector, store, rounds and exposition."""

    def __init__(
        self,
        server: AnyStandIn,
        folder: Path,
        clock: FixedClock,
        block: Mapping[str, Any] | None = None,
        cls: Watcher = GitLab,
    ) -> None:
        self.clock = clock
        file = folder / "runs.db"
        if not file.exists():
            file.write_bytes(_empty_store())
        self.store = SqlStore(f"sqlite:///{file}")
        self.stopping = threading.Event()
        self.metrics = SelfMetrics("0")
        self.exposition = Exposition()
        self.page = self.exposition.page(cls.name, cls.families)
        self.exposition.show([cls.name])
        given = {"url": server.url, "token": server.token, "operations_per_second": 1000} | dict(block or {})
        context = Context(
            page=self.page,
            clock=clock,
            api=self.metrics.observer(cls.name),
            stopping=self.stopping,
            fetch_timeout_seconds=5,
        )
        config: Any = cls.config_model.model_validate(given)
        self.collector: Any = cls(config, context)
        self.collector._client._api.retry_seconds = RETRY_SECONDS
        self.rounds = CollectorRounds(self.collector, self.page, self.store, self.metrics, clock)

    def discover(self) -> None:
        """Read the list of projects."""
        self.rounds.discover()

    def poll(self, *, tries: int = 1) -> list[Visit | None]:
        """Poll every project until it has no more news; one that fails is left after *tries*."""
        visits: list[Visit | None] = []
        for state in self.rounds.states():
            left = tries
            while self.rounds.is_current(state):
                visit = self.rounds.visit(state)
                visits.append(visit)
                left -= visit is not None and visit.result is FetchResult.ERROR
                if visit is None or not left or (visit.result is not FetchResult.ERROR and visit.wait > 0):
                    break
        return visits

    @property
    def text(self) -> str:
        """The exposition of the collector."""
        return b"".join(self.exposition.gather(Format.TEXT, gzip=False).pieces).decode()

    def lines(self, *families: str, **labels: str) -> list[str]:
        """Sample lines of *families* that carry *labels*, without those that are 0."""
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        return [
            line
            for line in self.text.splitlines()
            if line.split("{")[0] in families
            and all(label in line for label in wanted)
            and not line.endswith(" 0.0")
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of all samples of that name and those labels, ``None`` if there are none."""
        found = [
            sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def close(self) -> None:
        """End as a process would: nothing is said to the source or the store."""
        self.stopping.set()
        self.collector.close()
        self.store.close()


class Lab:
    """A stand-in, one clock for both sides, and as many exporters on one store as a test wants."""

    cls: Watcher = GitLab
    watched: ClassVar[Mapping[str, Any]] = {"all_projects": "visible"}
    first_project: ClassVar[str] = "/projects/101/"  # what the addresses of the first one have in common

    def __init__(self, server: AnyStandIn, folder: Path, **block: Any) -> None:
        self.server = server
        self.clock = FixedClock(datetime.fromisoformat(START))
        self._folder = folder
        self.block: dict[str, Any] = {**self.watched, **block}
        self._made: list[Exporter] = []
        self.exporter = self.start()

    def start(self) -> Exporter:
        """One more exporter on the same store; it has read the list of projects."""
        exporter = Exporter(self.server, self._folder, self.clock, self.block, self.cls)
        self._made.append(exporter)
        exporter.discover()
        return exporter

    def restart(self, **block: Any) -> Exporter:
        """A new process in place of the last one."""
        self.exporter.close()
        self._made.remove(self.exporter)
        self.block.update(block)
        self.exporter = self.start()
        return self.exporter

    def advance(self, seconds: float) -> None:
        """Let time pass on both sides."""
        now = self.server.advance(seconds)
        passed = datetime.fromisoformat(now).astimezone(UTC) - self.clock.now()
        self.clock.advance(passed.total_seconds())

    def run(self, seconds: float, step: float = 15, *, tries: int = 1) -> None:
        """Let time pass in steps, with a poll of every project after each."""
        while seconds > 0:
            self.advance(min(step, seconds))
            seconds -= step
            self.exporter.poll(tries=tries)

    def act(self, action: str, **given: Any) -> dict[str, Any]:
        """Make something happen at the source."""
        return self.server.action(action, **given)

    def pipeline(self, *jobs: Mapping[str, Any], project: str = PROJECT, **given: Any) -> int:
        """A new pipeline of *jobs*, of one job that succeeds after 30 s unless others are given."""
        made = {} if {"story", "script"} & given.keys() else {"jobs": list(jobs) or [{"name": "unit"}]}
        return int(self.act("new_pipeline", project=project, **made, **given)["pipeline_id"])

    def calls(self) -> dict[str, int]:
        """API calls by endpoint since the last time this was asked."""
        return dict(self.server.requests(reset=True)["by_endpoint"])

    def close(self) -> None:
        """End all exporters."""
        for exporter in self._made:
            exporter.close()


class FleetLab(Lab):
    """A lab in which the runners are watched."""

    cls = GitLabRunners
    watched: ClassVar[Mapping[str, Any]] = {"instance": True}


class DeploymentsLab(Lab):
    """A lab in which deployments are watched."""

    cls = GitLabDeployments

    def deploy(self, environment: str = "production", **job: object) -> int:
        """A new pipeline with one job, that deploys."""
        return self.pipeline({"name": "ship", "environment": environment, **job})


class ChangesLab(Lab):
    """A lab in which merge requests are watched."""

    cls = GitLabChanges


class ReportsLab(Lab):
    """A lab in which reports of tests are read."""

    cls = GitLabTests


class EventsLab(Lab):
    """A lab in which events are read, and kept for a sink that takes nothing out."""

    cls = GitLabEvents
    watched: ClassVar[Mapping[str, Any]] = {}

    def start(self) -> Exporter:
        """One more exporter on the same store, with the sink."""
        exporter = Exporter(self.server, self._folder, self.clock, self.block, self.cls)
        exporter.store.outbox.subscribe(SINK, ["gitlab"])
        self._made.append(exporter)
        exporter.discover()
        return exporter

    def round(self, seconds: float = 30, *, tries: int = 1) -> None:
        """Let time pass, then read the lists, and the events that they lead to."""
        self.advance(seconds)
        with suppress(ExporterError):
            self.exporter.discover()
        self.exporter.poll(tries=tries)

    def told(self) -> list[Event]:
        """Everything that the sink would deliver, in order."""
        return [entry.event for entry in self.exporter.store.outbox.read(SINK, 0, 100_000)]

    def numbers(self, key: str | None = None) -> list[int]:
        """GitLab's ids of what was told, in order; only of one *key* if it is given."""
        return [int(one.id.rpartition("/")[2]) for one in self.told() if key in (None, one.key)]


__all__ = [
    "PROJECT",
    "SINK",
    "START",
    "ChangesLab",
    "DeploymentsLab",
    "EventsLab",
    "Exporter",
    "FleetLab",
    "Lab",
    "ReportsLab",
    "gitlab",
]
