"""Reading one unit: what is new in it, what goes on, what is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from collectors._failures import concerns_all
from collectors._http import NotThere
from collectors.jenkins import mapping
from collectors.jenkins.client import JenkinsClient, job_path
from collectors.jenkins.cursor import Cursor, Mark
from collectors.jenkins.listing import Lister, Wanted
from collectors.jenkins.mapping import Build
from collectors.jenkins.memory import Memory
from collectors.jenkins.settings import JenkinsConfig
from collectors.jenkins.stages import stages
from collectors.jenkins.sweep import Job, Seen
from exporter.contract import Context, Known, Trouble, UnitTrouble
from exporter.errors import SourceError, Unauthorized, UnitUnavailable
from exporter.model.runs import JobRun, PipelineRun, RefKind

_ALONE = 2  # more builds of one job than this are read as a list
_REREADS = 20
_LISTS = 20
_MOST_FAILURES = 3  # of them before the others are not tried
_TRIES = 10  # after which a build whose stages cannot be read is saved without them
_MOST_GONE = 10_000
_SETTLES = timedelta(seconds=60)
_LONG_BUILD = timedelta(days=1)  # longer ones that go on when history begins may be left out


class Reader:
    """One poll of one unit; what it has read is in its public attributes."""

    def __init__(
        self,
        seen: Seen,
        known: Known,
        *,
        client: JenkinsClient,
        config: JenkinsConfig,
        context: Context,
        memory: Memory,
        since: datetime,
    ) -> None:
        self.seen = seen
        self.runs: dict[int, PipelineRun] = {}
        self.jobs: list[JobRun] = []
        self.deleted: set[int] = set()
        self.busy = False
        self.more = False
        self.trouble: UnitTrouble | None = None
        self.failure: SourceError | None = None
        self._failures = 0
        self._known = known
        self._client = client
        self._config = config
        self._clock = context.clock
        self._unknown = context.api.unknown_value
        self._lister = Lister(client, self._unknown, self._note_fault)
        self._memory = memory
        self._since = since

    # -- what there is -------------------------------------------------------------------------

    @property
    def listed_enough(self) -> bool:
        """Whether lists were asked for as often as one poll does."""
        return self._lister.calls >= _LISTS

    def behind(self, job: Job, mark: Mark | None) -> int:
        """How many builds of *job* there may be after *mark*; 0 if there are none."""
        if job.last is None or (mark and mark == (job.last.number, job.last.timestamp)):
            return 0
        return max(1, job.last.number - (mark.number if mark else 0))

    def news(self, job: Job, mark: Mark | None) -> list[Build]:
        """The oldest builds of *job* after *mark*, in order, a page of them; ``more`` if there are others.

        What is stored and gone is noted.
        """
        last = job.last
        if job.fault:
            self._note_fault(job, job.fault)
        if last is None or not self.behind(job, mark):
            return []
        if mark is None:
            return self._first(job, last)
        if last.number > mark.number:
            return self._after(job, last, mark)
        if self._is_there(job, mark):
            return []  # what we look at is older than what we know, from a hook or another process
        self._note_gone(job, last.number, mark.number)
        return self._first(job, last) if last.timestamp > mark.timestamp else [last]

    def matters(self, job: Job, build: Build) -> bool:
        """Whether *build* is to be read: it ended since history begins, or is the newest of *job*."""
        newest = job.last is not None and build.number == job.last.number
        return newest or build.running or build.finished_at >= self._since

    def _first(self, job: Job, last: Build) -> list[Build]:
        """Of a job that is seen for the first time, what may have ended since history begins."""
        if last.number == 1 or (not last.running and last.finished_at < self._since):
            return [last]
        begins = (self._since - _LONG_BUILD).timestamp() * 1000
        return self._portion(job, last, lambda build: build.timestamp >= begins)

    def _after(self, job: Job, last: Build, mark: Mark) -> list[Build]:
        """The builds behind *mark*, with what happened unseen between two looks.

        If the job was deleted, made anew, and is further already, that is all of them.
        """
        if last.number == mark.number + 1:
            return [last]
        number, position = self._memory.reached.get(job.full_name, (0, 0))
        guess = position if number == mark.number else last.number - mark.number
        return self._portion(
            job,
            last,
            lambda build: build.number > mark.number or build.timestamp > mark.timestamp,
            guess,
        )

    def _portion(self, job: Job, last: Build, wanted: Wanted, guess: int | None = None) -> list[Build]:
        """The oldest of the builds that are *wanted*; whether that is all of them is noted."""
        portion = self._lister.oldest(job, last, wanted, guess)
        if portion.position:
            self.more = True
            self._memory.reached[job.full_name] = (portion.builds[-1].number, portion.position)
        else:
            self._memory.reached.pop(job.full_name, None)
        return portion.builds

    def _is_there(self, job: Job, mark: Mark) -> bool:
        """Whether the build of *mark* exists, and is no other of the same number."""
        body = self._client.build(job.full_name, mark.number)
        return body is not None and mapping.build(body, self._unknown).timestamp == mark.timestamp

    def _note_gone(self, job: Job, last: int, before: int) -> None:
        """Note that the builds after number *last* up to *before* do not exist any more."""
        first = max(last + 1, before - _MOST_GONE)
        numbers = [mapping.run_id(job.ref, number) for number in range(first, before + 1)]
        self.deleted |= self._known.updated_at(numbers).keys()

    def pages(self, job: Job, since: datetime) -> Iterator[list[Build]]:
        """The builds of *job*, newest first, until a whole page of them ended before *since*."""
        for page in self._lister.pages(job):
            yield page
            if all(not one.running and one.finished_at < since for one in page):
                return

    def _note_fault(self, job: Job, fault: str) -> None:
        detail = f"a build of {job.full_name} cannot be understood, and is left out: {fault}"
        self.trouble = UnitTrouble(self.seen.unit.name, Trouble.BAD_DATA, detail)

    # -- reading -------------------------------------------------------------------------------

    def read(self, job: Job, build: Build) -> None:
        """Take in one build, with its stages if it is over; a failure leaves nothing of it."""
        build = self._settled(job, build)
        run = self._run(job, build)
        if self._config.refs.count == "selected" and not run.selected:
            self.deleted.add(run.run_id)  # before it checked out anything, it was for no ref
            return
        if run.status.finished:
            stored = self._known.updated_at([run.run_id]).get(run.run_id)
            if stored != run.updated_at:
                self.jobs += self._stages(job, build, run)
        else:
            self.busy = True
        self.runs[run.run_id] = run
        self.deleted.discard(run.run_id)

    def _settled(self, job: Job, build: Build) -> Build:
        """*build*, as still running if it is over, but for less than a minute without a duration.

        A pipeline is marked as over a moment before its duration is set. Taken for the end, the moment of its
        beginning would count as one execution, and the real end as a further one. Only builds that a crash
        of Jenkins cut off stay without.

        Source:
            workflow-job-plugin, WorkflowRun.java, ``finish``.
        """
        key, now = (job.full_name, build.number, build.timestamp), self._clock.now()
        if build.running or build.duration:
            self._memory.unsettled.pop(key, None)
            return build
        if timedelta() <= now - self._memory.unsettled.setdefault(key, now) < _SETTLES:
            return replace(build, running=True, result="")
        return build

    def _run(self, job: Job, build: Build) -> PipelineRun:
        return mapping.run(
            build,
            ref=job.ref,
            kind=self._kind(job),
            url=f"{self._config.url}/{job_path(job.full_name)}",
            unstable=self._config.unstable,
            selects=self._config.refs.selects,
            unknown=self._unknown,
        )

    def _stages(self, job: Job, build: Build, run: PipelineRun) -> list[JobRun]:
        """The stages of a pipeline build; none of what ended before history begins, or where none are told.

        Raises:
            SourceError: they could not be read, for the first few times.
        """
        counts = self._config.jobs.status or build.finished_at >= self._since
        if not (build.pipeline and counts and self._config.jobs.enabled) or self._memory.stages is False:
            return []
        key = (job.full_name, build.number)
        try:
            body = self._client.stages(job.full_name, build.number)
            found = [] if body is None else self._stages_of(body, run)
        except Unauthorized:
            raise
        except UnitUnavailable:
            return []
        except SourceError as error:
            with self._memory.turn:
                tries = self._memory.tries[key] = self._memory.tries.get(key, 0) + 1
            if tries < _TRIES or error.retry_after is not None:
                raise
            detail = f"the stages of build {build.number} of {job.full_name} cannot be read: {error}"
            self.trouble = UnitTrouble(self.seen.unit.name, Trouble.BAD_DATA, detail)
            found = []
        else:
            self._note_stages(job, build, told=body is not None)
        with self._memory.turn:
            self._memory.tries.pop(key, None)
        return found

    def _note_stages(self, job: Job, build: Build, *, told: bool) -> None:
        """Note whether Jenkins tells of stages at all, if the answer for one build says so."""
        if told:
            self._memory.stages = True
        elif self._memory.stages is None and self._client.build(job.full_name, build.number) is not None:
            self._memory.stages = False  # it is not that the build was discarded meanwhile

    def _stages_of(self, body: object, run: PipelineRun) -> list[JobRun]:
        return stages(body, run, unstable=self._config.unstable, unknown=self._unknown)

    def _kind(self, job: Job) -> RefKind:
        """What sort of ref the job is for; asked for when a branch is new, since its name does not tell."""
        if job.ref is None:
            return RefKind.BRANCH
        key = self.seen.unit.key
        known = self._memory.kinds.get(key, {})
        if job.name not in known:
            try:
                kinds, primary = mapping.ref_kinds(self._client.views(key))
            except NotThere:
                kinds, primary = {}, ""
            guesses = {name: mapping.guessed_kind(name) for name in (*self.seen.jobs, job.name)}
            known = self._memory.kinds[key] = guesses | kinds
            self._memory.primary[key] = primary
        return known[job.name]

    # -- what goes on --------------------------------------------------------------------------

    def reread(self, cursor: Cursor) -> Iterator[tuple[Job, Build]]:
        """Builds that were not over, or could not be read, the last time: as they are now."""
        jobs = {job.ref: job for job in self.seen.jobs.values()}
        wanted: dict[str, set[int]] = {name: set(some) for name, some in cursor.unread.items()}
        for run in self._known.unfinished():
            if run.run_id in self.runs:
                continue
            job = jobs.get(run.ref if self.seen.multibranch else None)
            number = mapping.number_of(job.ref, run.run_id) if job else 0
            if job is None or mapping.run_id(job.ref, number) != run.run_id:
                self.deleted.add(run.run_id)  # with its branch, or when the job was of another sort
            else:
                wanted.setdefault(job.name, set()).add(number)
        alone: list[tuple[Job, int]] = []
        for name, numbers in wanted.items():
            job = self.seen.jobs.get(name)
            if job is None:
                continue
            found: dict[int, Build] = {}
            with self.tolerant():
                found = self._at_once(job, numbers)
            for number in sorted(numbers):
                if number in found:
                    yield job, found[number]
                else:
                    alone.append((job, number))
        for job, number in self._some(alone):
            build = None
            with self.tolerant():
                build = self._one(job, number, cursor)
            if build is not None:
                yield job, build

    @contextmanager
    def tolerant(self) -> Iterator[None]:
        """Note a failure of one call, so that others go on; a few of them, and none that concerns all."""
        try:
            yield
        except SourceError as error:
            if concerns_all(error) or self._failures >= _MOST_FAILURES:
                raise
            self._failures += 1
            self.failure = error

    @property
    def failed_enough(self) -> bool:
        """Whether no more is to be tried that may fail."""
        return self._failures >= _MOST_FAILURES

    def _some(self, alone: list[tuple[Job, int]]) -> list[tuple[Job, int]]:
        """As many as one poll asks for; each poll goes on behind the last, so that all have their turn."""
        if len(alone) <= _REREADS:
            return alone
        key = self.seen.unit.key
        first = self._memory.rereads.get(key, 0) % len(alone)
        self._memory.rereads[key] = first + _REREADS
        return (alone[first:] + alone[:first])[:_REREADS]

    def _at_once(self, job: Job, numbers: set[int]) -> dict[int, Build]:
        """Those of *numbers* that need no call each: the newest, and if there are several, a page."""
        found = {job.last.number: job.last} if job.last and job.last.number in numbers else {}
        if len(numbers) - len(found) > _ALONE:
            for page in self._lister.pages(job, 1):
                found |= {one.number: one for one in page if one.number in numbers}
        return found

    def _one(self, job: Job, number: int, cursor: Cursor) -> Build | None:
        """One build alone; noted if it is gone."""
        body = self._client.build(job.full_name, number)
        if body is not None:
            return mapping.build(body, self._unknown)
        self.deleted.add(mapping.run_id(job.ref, number))
        cursor.unread.get(job.name, set()).discard(number)
        return None

    def refs(self) -> dict[RefKind, frozenset[str]]:
        """The refs of a multibranch project, if they are not those that were told of last.

        Each counts for every kind: names are unique in a project, and of idle ones nobody asked the kind.
        """
        if not self.seen.multibranch:
            return {}
        refs = frozenset(job.ref for job in self.seen.jobs.values() if job.ref)
        if self._memory.refs.get(self.seen.unit.key) == refs:
            return {}
        self._memory.refs[self.seen.unit.key] = refs
        selects = self._config.refs.selects
        return {kind: frozenset(ref for ref in refs if selects(kind, ref)) for kind in RefKind}
