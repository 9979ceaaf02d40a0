"""The simulated GitLab as a whole: it is set up by options, moves in time and keeps the truth."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial

from collectors._standin.times import DAY, HOUR, Timeline, dice
from collectors.gitlab.standin import history
from collectors.gitlab.standin.diary import Diary
from collectors.gitlab.standin.engine import Engine
from collectors.gitlab.standin.fleet import Fleet
from collectors.gitlab.standin.options import Options
from collectors.gitlab.standin.population import Population
from collectors.gitlab.standin.records import (
    FIRST_PROJECT,
    RUNNERS,
    Execution,
    Pipeline,
    Plan,
    Project,
)
from collectors.gitlab.standin.reviews import Reviews
from collectors.gitlab.standin.stories import draw, plan_for
from collectors.gitlab.standin.truth import Ledger


class World:
    """Everything there is; equal options and equal interference give equal worlds.

    Not safe for several threads: whoever serves it calls from one.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        served_from = int(time.time() * 1000) if options.start is None else options.start
        self.start = served_from - int(options.warm_up * 1000)
        self.timeline = Timeline(self.start)
        self.ledger = Ledger()
        self.chance = dice(options.seed)
        self.admin = options.admin
        self.fleet = Fleet(strict=options.runners is not None)
        self.users_hidden = False
        diary = Diary(self.timeline, dice(options.seed + 1))
        self.engine = Engine(self.timeline, self.ledger, self.chance, self.fleet, diary)
        self.deployments = self.engine.deployments
        reviews = Reviews(self.timeline, dice(options.seed + 2), lively=options.changes_per_hour > 0)
        self.people = Population(self.engine, self.chance, reviews, options.group, options.users)
        self.people.grow(options.projects, self.start, options.history_days)
        self._stock_fleet()
        self.paused = False
        self.past: list[Pipeline] = []
        self._fill_history()
        self._plan_next(options.pipelines_per_hour, self._arrive)
        self._plan_next(options.changes_per_hour, self.people.change)
        self.timeline.advance_to(served_from)
        self._served_from, self._begun = served_from, time.monotonic()

    @property
    def now(self) -> int:
        """Milliseconds since 1970."""
        return self.timeline.now

    def advance(self, milliseconds: int) -> None:
        """Let *milliseconds* pass, on top of what passes by itself."""
        if self.options.speed:
            self._begun -= milliseconds / 1000 / self.options.speed
            self.catch_up()
            return
        self.timeline.advance_to(self.timeline.now + milliseconds)

    def catch_up(self) -> None:
        """Let the time pass that has passed outside; nothing when time stands."""
        if self.options.speed:
            passed = (time.monotonic() - self._begun) * self.options.speed
            self.timeline.advance_to(self._served_from + int(passed * 1000))

    def before(self, version: tuple[int, int]) -> bool:
        """Whether the GitLab that it claims to be is older than *version*."""
        return tuple(map(int, self.options.version.split(".")[:2])) < version

    def truth(self, *, past: bool = True, jobs: bool = True) -> Iterator[Execution]:
        """Every finished execution, those of history first unless not *past*; *jobs* cost most time."""
        if past:
            for pipeline in self.past:
                if pipeline.jobs is None:
                    yield from history.executions_of(pipeline, jobs=jobs)
        yield from (entry for entry in self.ledger.entries if jobs or entry.kind == "pipeline")

    def new_pipeline(self, project: Project, story: str) -> Pipeline:
        """A pipeline that lives through *story*, for some ref of *project*."""
        ref, tag, source = self.people.pick_ref(project)
        other = self.people.busy_project() if story == "multi_project" else None
        downstream = other.id if other and other is not project else None
        return self.engine.create(
            project,
            ref,
            self._plan(story, downstream),
            source=source,
            user=self.people.user(),
            tag=tag,
        )

    def _stock_fleet(self) -> None:
        wanted, options = self.options.runners, self.options
        count = len(RUNNERS) if wanted is None else wanted
        if count < len(RUNNERS) and options.history_days > 0:
            raise ValueError(f"a world with history has at least {len(RUNNERS)} runners")
        groups = [space for space in self.people.namespaces.values() if space.kind == "group"]
        projects = list(self.people.projects) or [FIRST_PROJECT]
        self.fleet.stock(count, options.seed, self.start, groups, projects)

    def _plan(self, story: str, downstream: int | None) -> Plan:
        return plan_for(story, self.chance, downstream)

    def _arrive(self) -> None:
        project = self.people.busy_project()
        if project is not None:
            self.new_pipeline(project, draw(self.chance, self.options.stories))

    def _plan_next(self, per_hour: float, action: Callable[[], object]) -> None:
        if per_hour > 0:
            wait = int(self.chance.expovariate(per_hour / HOUR)) + 1
            self.timeline.after(wait, partial(self._recur, per_hour, action))

    def _recur(self, per_hour: float, action: Callable[[], object]) -> None:
        if not self.paused:
            action()
        self._plan_next(per_hour, action)

    def _fill_history(self) -> None:
        days, count = self.options.history_days, self.options.history_pipelines
        if count is None:
            count = round(days * 24 * self.options.pipelines_per_hour)
        able = [p for p in self.people.projects.values() if p.ci_enabled and p.branches]
        if days <= 0 or not able:
            return
        span, chance = int(days * DAY), self.chance
        number = 1_000
        for created in sorted(self.start - 120_000 - chance.randrange(span) for _ in range(count)):
            project = able[chance.randrange(len(able))]
            number += 1
            ref = self.people.pick_ref(project)
            pipeline = history.finished(number, project, created, self.start, ref, chance)
            self.past.append(pipeline)
            settled = pipeline.updated_at < self.start - 120_000
            if number % 12 == 0 and pipeline.status == "success" and settled:
                number += 1
                self.past.append(history.with_child(pipeline, number, self.start, chance))
        self._register(number)

    def _register(self, last: int) -> None:
        for pipeline in self.past:
            pipeline.project.pipelines[pipeline.id] = self.engine.pipelines[pipeline.id] = pipeline
        for pipeline in sorted(self.past, key=lambda pipeline: (pipeline.updated_at, pipeline.id)):
            pipeline.project.by_update[pipeline.id] = pipeline
        self.engine.pipeline_ids = itertools.count(last + 1)
        self.deployments.past, self.deployments.ids = self.past, itertools.count(last + 1)
        self.engine.job_ids = itertools.count((last + 1) * history.JOBS_PER_PIPELINE)
