"""What rules would say: their templates tried on a sample, and on what is stored of the last days."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy.engine import Connection

from exporter.config.alerts import AlertsSettings
from exporter.config.channels import ChannelSettings
from exporter.errors import Problem
from exporter.model.alerts import AlertState, Notice
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.sinks.alerts.changes import Change
from exporter.sinks.alerts.engine import Engine
from exporter.sinks.alerts.templates import TemplateFault
from exporter.sinks.alerts.watch import Scene
from exporter.store.records import Project, Records

_TICK = timedelta(minutes=15)  # between two looks at what goes on: of a week, they take seconds
_CREATED, _STARTED, _ENDED = range(3)
_WORDS = ("firing", "repeated", "flapping", "resolved")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would have been sent; ``untried`` are rules about what is not stored, ``faults`` of templates."""

    notices: list[Notice]
    untried: list[str]
    faults: list[str]


def rehearse(
    settings: AlertsSettings,
    connection: Connection,
    providers: Mapping[str, str],
    zone: tzinfo,
    now: datetime,
    days: int,
) -> Rehearsal:
    """Let the rules hear of the last *days* again, in the order in which it happened; writes nothing."""
    if not settings.channels:
        settings = settings.model_copy(update={"channels": {"no channel": ChannelSettings.model_construct()}})
    engine = Engine(settings, (), zone)
    past = _Past(connection, now - timedelta(days=days), now)
    notices: list[Notice] = []
    hears_jobs = any(watch.hears_jobs for watch in engine.watches)
    looks = any(watch.replayable for watch in engine.watches)
    due: datetime | None = None
    for moment, happened in past.moments():
        # Asked only when something changed, which most runs do not.
        if engine.book.changed or engine.book.gone:
            engine.book.saved()
            due = engine.teller.next_due()
        if due is not None and due <= moment:
            notices += engine.tell(Scene(due, past, providers))
            due = None if engine.book.changed or engine.book.gone else moment + _TICK  # in quiet hours
        scene = Scene(moment, past, providers)
        if happened is None:
            if looks:
                engine.look(scene)
            continue
        unit_id, run = happened
        project = past.known(unit_id)
        if project is None:
            continue
        change = Change(moment, providers.get(project.target, ""), project, run)
        jobs = past.jobs(unit_id, [run.run_id]) if hears_jobs and run.status.finished else []
        engine.take([change, *(replace(change, job=job) for job in jobs)], scene)
    untried = [watch.rule.name for watch in engine.watches if not watch.replayable]
    notices += engine.tell(Scene(now, past, providers))
    faults = [
        f"rule {name}: {voice.fault}; there, the default text is sent"
        for name, voice in engine.teller.voices.items()
        if voice.fault
    ]
    return Rehearsal(notices, untried, faults)


class _Past(Records):
    """Stored runs as they stood at a moment between *since* and *until*."""

    def __init__(self, connection: Connection, since: datetime, until: datetime) -> None:
        super().__init__(connection)
        self._since = since
        self._until = until
        self._going: dict[tuple[int, int], PipelineRun] = {}
        self._known: dict[int, Project | None] = {}

    def known(self, unit_id: int) -> Project | None:
        """The project, looked up once."""
        return self.projects([unit_id]).get(unit_id)

    def projects(self, unit_ids: Collection[int]) -> dict[int, Project]:
        """``unit id -> project``, each looked up once."""
        missing = set(unit_ids) - self._known.keys()
        if missing:
            self._known |= dict.fromkeys(missing) | super().projects(missing)
        return {unit_id: found for unit_id in unit_ids if (found := self._known[unit_id])}

    def active(self, until: datetime) -> list[tuple[int, PipelineRun]]:
        """``(unit id, run)`` of the runs that waited or ran then."""
        return [(unit_id, _as_of(run, until)) for (unit_id, _), run in self._going.items()]

    def moments(self) -> Iterator[tuple[datetime, tuple[int, PipelineRun] | None]]:
        """Every start and end of a run, and ``None`` for each look, in their order."""
        tick = self._since
        for moment, phase, unit_id, run in self._entries():
            while tick <= moment:
                yield tick, None
                tick += _TICK
            if phase == _CREATED:
                self._going[unit_id, run.run_id] = run
            elif phase == _ENDED:
                del self._going[unit_id, run.run_id]
                yield moment, (unit_id, run)
            elif moment >= self._since:
                yield moment, (unit_id, _as_of(run, moment))
        while tick <= self._until:
            yield tick, None
            tick += _TICK

    def _entries(self) -> list[tuple[datetime, int, int, PipelineRun]]:
        found = []
        for unit_id, run in (*self.ended(self._since, self._until), *super().active(self._until)):
            steps = (run.created_at, run.started_at, run.finished_at)
            for phase, moment in enumerate(steps):
                if moment is not None:
                    # A source's clock may say that a run ended before it began.
                    found.append((max(moment, run.created_at), phase, unit_id, run))
        found.sort(key=lambda entry: (entry[0], entry[1], entry[2], entry[3].run_id))
        return found


def _as_of(run: PipelineRun, moment: datetime) -> PipelineRun:
    """*run* as it stood at *moment*, before its end."""
    started = run.started_at if run.started_at and run.started_at <= moment else None
    status = Status.RUNNING if started else Status.PENDING
    queue = run.queue_seconds if started else None
    return replace(run, status=status, started_at=started, finished_at=None, queue_seconds=queue)


# -- samples -------------------------------------------------------------------------------------


def template_problems(settings: AlertsSettings, zone: tzinfo) -> list[Problem]:
    """What is wrong with the templates of rules, found by telling of a sample all that can be told.

    Raises:
        ConfigError: one cannot even be read; with the key of each.
    """
    engine = Engine(settings, (), zone)
    scene = Scene(_START + timedelta(hours=2), _Samples(), {})
    problems: dict[str, Problem] = {}
    for index, watch in enumerate(engine.watches):
        voice = engine.teller.voices[watch.rule.name]
        for word in _WORDS:
            labels = _LABELS | getattr(watch.rule, "where", {}) | watch.rule.labels
            state = AlertState("", watch.rule.name, "", labels, _ABOUT, _START, _START)
            if word == "resolved":
                state = replace(state, resolved_at=scene.now, about={**_ABOUT, "fixed_by": 2})
            try:
                # The labels of rows are whatever a query has: there, none can be said to be wrong.
                voice.try_out(state, word, scene, any_label=watch.rule.kind == "rows")
            except TemplateFault as error:
                key, _, message = str(error).partition(": ")
                place = f"alerts.rules.{index}.{key}"
                problems.setdefault(
                    place, Problem(place, f"the template fails when it tells {word}: {message}")
                )
    return list(problems.values())


_START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
_LABELS = {
    "provider": "provider",
    "project": "group/project",
    "pipeline": "",
    "ref": "main",
    "ref_kind": "branch",
    "stage": "test",
    "job": "unit",
    "runner_type": "instance",
    "collector": "runner",
    "sink": "kafka",
}
_ABOUT: dict[str, Any] = {
    "unit": 1,
    "run": 1,
    "times": 3,
    "waited": 60.0,
    "limit": 30.0,
    "value": 1.0,
    "runners": 2.0,
}


class _Samples(Records):
    """Records of which there is one sample each."""

    def __init__(self) -> None:
        """Without a store."""

    def run(self, unit_id: int, run_id: int) -> PipelineRun:
        return PipelineRun(
            run_id=run_id,
            ref="main",
            ref_kind=RefKind.BRANCH,
            source="push",
            status=Status.FAILED if run_id == 1 else Status.SUCCESS,
            created_at=_START,
            updated_at=_START,
            started_at=_START,
            finished_at=_START,
            username="somebody",
            web_url=f"https://example.org/runs/{run_id}",
            sha="0123456789abcdef",
            commit_title="A change",
        )

    def older(self, unit_id: int, run: PipelineRun, until: datetime) -> Iterator[PipelineRun]:
        return iter([self.run(unit_id, 0)])

    def jobs(self, unit_id: int, run_ids: Collection[int]) -> list[JobRun]:
        return [
            JobRun(1, run_id, "test", "unit", Status.FAILED, _START, failure_reason="script_failure")
            for run_id in run_ids
        ]
