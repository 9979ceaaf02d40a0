"""Rules that look from time to time: at runs that go on, and at the values that are shown."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any, TypeVar

from exporter.config.rules import AnyRule, CollectorFailing, Rows, RunnersOffline, RunStuck, SinkFailing
from exporter.model.alerts import AlertState
from exporter.model.runs import PipelineRun, Status
from exporter.sinks.alerts.book import Book, Subject, fingerprint
from exporter.sinks.alerts.changes import Change
from exporter.sinks.alerts.runwatches import RunWatch, provider_of
from exporter.sinks.alerts.watch import Globs, Scene, Watch
from exporter.sinks.base import ShownValue

_SAMPLE_RUNS = 200
_REMEMBER_P95 = timedelta(minutes=10)
_COLLECTOR = "ci_exporter_collector_success"
_SINK = "ci_exporter_sink_success"
_RUNNERS = "ci_runners"


class RunStuckWatch(RunWatch[RunStuck]):
    """Runs that wait or run for too long."""

    def __init__(self, rule: RunStuck, book: Book) -> None:
        super().__init__(rule, book)
        limits = (rule.longer_than_seconds, rule.at_least_seconds if rule.times_p95 is not None else None)
        # Of most runs nothing needs to be looked up: no limit is shorter than this.
        self._least = min(limit for limit in limits if limit is not None)
        self._p95: dict[tuple[int, str, str], tuple[datetime, float | None]] = {}

    def look(self, scene: Scene) -> None:
        """Each run over its limit is an alert, until it ends or is not over it any more."""
        going = [(unit_id, run) for unit_id, run in scene.records.active(scene.now) if self._watched(run)]
        projects = scene.records.projects({unit_id for unit_id, _ in going})
        stuck: set[str] = set()
        for unit_id, run in going:
            project = projects.get(unit_id)
            if project is None or not self.means(provider := provider_of(scene, project), project, run):
                continue
            since = _since(run)
            age = (scene.now - since).total_seconds()
            limit = self._limit(unit_id, run, scene) if age > self._least else None
            if limit is None or age <= limit:
                continue
            change = Change(scene.now, provider, project, run)
            subject = self.subject(change, scene, since, str(run.run_id), state=run.status.value, limit=limit)
            stuck.add(fingerprint(self.rule.name, subject.identity))
            state = self.book.get(self.rule.name, subject.identity)
            if state is None or state.about["state"] != run.status.value:
                self.stand(subject, scene)
        for state in self.standing():
            if state.fingerprint not in stuck:
                self.end(state, scene)

    def _watched(self, run: PipelineRun) -> bool:
        return _phase(run) in self.rule.statuses

    def _limit(self, unit_id: int, run: PipelineRun, scene: Scene) -> float | None:
        """After how many seconds *run* is stuck; ``None`` while too little is known of its pipeline."""
        limits = [self.rule.longer_than_seconds] if self.rule.longer_than_seconds is not None else []
        if self.rule.times_p95 is not None:
            usual = self._usual(unit_id, run, scene)
            if usual is not None:
                limits.append(max(self.rule.at_least_seconds, self.rule.times_p95 * usual))
        return min(limits, default=None)

    def _usual(self, unit_id: int, run: PipelineRun, scene: Scene) -> float | None:
        column = "duration_seconds" if _phase(run) == "running" else "queue_seconds"
        key = (unit_id, run.pipeline, column)
        known = self._p95.get(key)
        if known is None or not known[0] <= scene.now < known[0] + _REMEMBER_P95:
            seconds = scene.records.durations(unit_id, run.pipeline, column, scene.now, _SAMPLE_RUNS)
            p95 = (
                quantiles(seconds, n=20, method="inclusive")[-1]
                if len(seconds) >= self.rule.min_runs
                else None
            )
            self._p95[key] = known = (scene.now, p95)
        return known[1]

    def facts(self, state: AlertState, scene: Scene) -> dict[str, Any]:
        """How long it has been so, and how long is too long, besides what there is to tell of the run."""
        end = state.resolved_at or scene.now
        times = {"value": (end - state.started_at).total_seconds(), "limit": state.about["limit"]}
        return {**super().facts(state, scene), **times}


def _phase(run: PipelineRun) -> str:
    return "running" if run.status is Status.RUNNING else "pending"


def _since(run: PipelineRun) -> datetime:
    started = run.started_at if run.status is Status.RUNNING else None
    return started or run.created_at


R = TypeVar("R", bound=AnyRule)


class ShownWatch(Watch[R]):
    """What all rules about shown values have in common: bad for some time, and well once it is not."""

    replayable = False
    most = 10_000

    def __init__(self, rule: R, book: Book, names: Iterable[str], for_seconds: float) -> None:
        super().__init__(rule, book)
        self._names = tuple(names)
        self._for = timedelta(seconds=for_seconds)
        self._since: dict[tuple[str, ...], datetime] = {}

    @abstractmethod
    def judge(
        self, values: list[ShownValue]
    ) -> dict[tuple[str, ...], tuple[Mapping[str, str], dict[str, Any]]]:
        """``identity -> (labels, about)`` of what is bad."""

    def look(self, scene: Scene) -> None:
        """Until everything has been read once, and where something that is read failed, nothing ends.

        A value that is missing then is not known to be well.
        """
        if scene.shown is None or not scene.shown.ready():
            return
        bad = self.judge(scene.shown.values(self._names))
        self._since = {identity: self._since.get(identity, scene.now) for identity in bad}
        marks = {fingerprint(self.rule.name, identity) for identity in bad}
        over = [state for state in self.standing() if state.fingerprint not in marks]
        room = self.most - len(self.standing())
        for identity, (labels, about) in bad.items():
            since = self._since[identity]
            standing = self.book.get(self.rule.name, identity)
            if standing is None:
                if room <= 0 or scene.now - since < self._for:
                    continue
                room -= 1
            since = standing.started_at if standing else since
            self.stand(Subject(identity, labels, about, since), scene)
        if over and self.certain(scene):
            for state in over:
                self.end(state, scene)

    def certain(self, scene: Scene) -> bool:
        """Whether what is not shown is well, and not only unknown."""
        return scene.shown is not None and all(
            one.value for one in scene.shown.values((_COLLECTOR,)) if one.name == _COLLECTOR
        )

    def facts(self, state: AlertState, scene: Scene) -> dict[str, Any]:
        """The value."""
        return {"value": state.about.get("value"), "limit": state.about.get("limit")}


class RunnersOfflineWatch(ShownWatch[RunnersOffline]):
    """Fleets of which too few runners are online."""

    def __init__(self, rule: RunnersOffline, book: Book) -> None:
        super().__init__(rule, book, (_RUNNERS,), rule.for_seconds)
        self._providers = Globs.of(rule.providers)
        self._types = Globs.of(rule.runner_types)

    def judge(
        self, values: list[ShownValue]
    ) -> dict[tuple[str, ...], tuple[Mapping[str, str], dict[str, Any]]]:
        """Providers and types of runners, of which there are some, but too few online."""
        online: dict[tuple[str, str], float] = {}
        total: dict[tuple[str, str], float] = {}
        for one in values:
            key = (one.labels.get("provider", ""), one.labels.get("runner_type", ""))
            if one.name == _RUNNERS and self._providers.match(key[0]) and self._types.match(key[1]):
                total[key] = total.get(key, 0) + one.value
                online[key] = online.get(key, 0) + one.value * (one.labels.get("status") == "online")
        return {
            key: (
                {"provider": key[0], "runner_type": key[1]},
                {"value": online[key], "limit": self.rule.min_online, "runners": total[key]},
            )
            for key in total
            if total[key] and online[key] < self.rule.min_online
        }

    def facts(self, state: AlertState, scene: Scene) -> dict[str, Any]:
        """How many runners there are, besides how many are online."""
        return {**super().facts(state, scene), "runners": state.about["runners"]}


class SelfWatch(ShownWatch[R]):
    """Collectors or sinks of this program whose success is shown as 0."""

    def __init__(
        self, rule: R, book: Book, name: str, label: str, globs: tuple[str, ...], seconds: float
    ) -> None:
        super().__init__(rule, book, (name,), seconds)
        self._name = name
        self._label = label
        self._globs = Globs.of(globs)

    def judge(
        self, values: list[ShownValue]
    ) -> dict[tuple[str, ...], tuple[Mapping[str, str], dict[str, Any]]]:
        """Those that fail."""
        failing = [one.labels[self._label] for one in values if one.name == self._name and not one.value]
        return {(name,): ({self._label: name}, {}) for name in failing if self._globs.match(name)}

    def certain(self, scene: Scene) -> bool:
        """Always: what is gone does not fail."""
        return True


class CollectorFailingWatch(SelfWatch[CollectorFailing]):
    """Collectors that fail."""

    def __init__(self, rule: CollectorFailing, book: Book) -> None:
        super().__init__(rule, book, _COLLECTOR, "collector", rule.collectors, rule.for_seconds)


class SinkFailingWatch(SelfWatch[SinkFailing]):
    """Sinks that fail."""

    def __init__(self, rule: SinkFailing, book: Book) -> None:
        super().__init__(rule, book, _SINK, "sink", rule.sinks, rule.for_seconds)


class RowsWatch(ShownWatch[Rows]):
    """Values of any family that are too large, or too small."""

    def __init__(self, rule: Rows, book: Book) -> None:
        super().__init__(rule, book, (rule.family,), rule.for_seconds)
        self.most = rule.max_alerts
        self._where = {name: Globs.of([glob]) for name, glob in rule.where.items()}

    def judge(
        self, values: list[ShownValue]
    ) -> dict[tuple[str, ...], tuple[Mapping[str, str], dict[str, Any]]]:
        """The series that are over a limit, the first ones by their labels."""
        bad = {
            tuple(f"{name}={value}" for name, value in sorted(one.labels.items())): (
                one.labels,
                {"value": one.value, "limit": self._limit(one.value)},
            )
            for one in values
            if one.name == self.rule.family and self._meant(one.labels) and self._limit(one.value) is not None
        }
        return {key: bad[key] for key in sorted(bad)}

    def _meant(self, labels: Mapping[str, str]) -> bool:
        return all(globs.match(labels.get(name)) for name, globs in self._where.items())

    def _limit(self, value: float) -> float | None:
        """The limit that *value* is over; ``None`` if it is none."""
        if self.rule.above is not None and value > self.rule.above:
            return self.rule.above
        if self.rule.below is not None and value < self.rule.below:
            return self.rule.below
        return None
