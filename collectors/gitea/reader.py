"""Reading one repository: what is new, what goes on, which refs exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from collectors._failures import concerns_all
from collectors._http import NotThere
from collectors.gitea import mapping
from collectors.gitea.client import GiteaClient, repository_scope
from collectors.gitea.news import News, Signal, of_run
from collectors.gitea.settings import GiteaConfig
from collectors.gitea.waiting import Waits
from exporter.clock import EPOCH, Clock
from exporter.contract import Known, Trouble, Unit, UnitTrouble
from exporter.errors import SourceError
from exporter.model.runs import JobRun, PipelineRun, RefKind

_MOST_LEFT_OUT = 20_000
_BAD_ANSWERS = 3  # unusable answers for one run after which it is left out, so that others go on


@dataclass(frozen=True, slots=True)
class Look:
    """What the lists say: runs to be read, the oldest first, and up to where there is nothing else."""

    runs: tuple[int, ...]
    newest: int


@dataclass(slots=True)
class Memory:
    """What is worth knowing from one poll to the next, but not worth storing; shared by all repositories.

    ``bad`` is how often in a row a run could not be understood, ``left_out`` as of when it was found to be
    for a ref that does not count; both by ``(unit, run id)``. ``left`` is what a look found and no batch
    brought yet, by unit, with the cursor that the store has if all before it is saved. ``told`` is the cursor
    of the last batch of a unit: the store has another one if that was not saved.
    """

    waits: Waits = field(default_factory=Waits)
    bad: dict[tuple[str, int], int] = field(default_factory=dict)
    left_out: dict[tuple[str, int], datetime] = field(default_factory=dict)
    left: dict[str, tuple[str, Look]] = field(default_factory=dict)
    told: dict[str, str | None] = field(default_factory=dict)


class Reader:
    """One poll of one repository; what it has read is in its public attributes."""

    def __init__(
        self,
        unit: Unit,
        known: Known,
        *,
        client: GiteaClient,
        config: GiteaConfig,
        clock: Clock,
        news: News,
        memory: Memory,
        unread: Iterable[int] = (),
    ) -> None:
        self.unit = unit
        self.runs: list[PipelineRun] = []
        self.jobs: list[JobRun] = []
        self.deleted: list[int] = []
        self.unread = set(unread)
        self.trouble: UnitTrouble | None = None
        self.unfinished = {run.run_id: run for run in known.unfinished()}
        self._known = known
        self._client = client
        self._config = config
        self._clock = clock
        self._news = news
        self._memory = memory
        self._scope = repository_scope(unit.name)
        self._read: set[int] = set()
        self._changed: dict[int, datetime] = {}

    # -- what is new -----------------------------------------------------------------------------

    def look(self, seen: int, since: datetime) -> Look:
        """Everything in the lists that the store does not have as it is now.

        *seen* is up to where the lists were read before: that far, and a page more, they are read now. Of
        what it never saw, only what happened at or after *since* is news.
        """
        found: set[int] = set()
        newest = seen
        for page in self._news.pages(self._scope):
            found |= self._news_of(page, since)
            newest = max(newest, *(signal.order for signal in page))
            if min(signal.order for signal in page) <= seen or _all_before(page, since):
                break
        if self.unfinished or not self._news.tells_all:
            found |= self._ended(since)
        return Look(tuple(sorted(found - self.unread)), newest)

    def _news_of(self, signals: Iterable[Signal], since: datetime) -> set[int]:
        signals = list(signals)
        stored = self._known.updated_at({signal.run_id for signal in signals})
        return {signal.run_id for signal in signals if self._is_news(signal, stored, since)}

    def _is_news(self, signal: Signal, stored: Mapping[int, datetime], since: datetime) -> bool:
        """Whether the run is to be read; one that does not count is read again when it changed."""
        left_out = self._memory.left_out.get((self.unit.key, signal.run_id))
        if left_out is not None and (signal.changed_at is None or signal.changed_at <= left_out):
            return False
        if not signal.is_news(stored.get(signal.run_id), self.unfinished, since):
            return False
        self._changed[signal.run_id] = max(
            self._changed.get(signal.run_id, EPOCH), signal.changed_at or EPOCH
        )
        return True

    def _ended(self, since: datetime) -> set[int]:
        """Stored runs that do not go on any more, and unfinished ones that the store does not have so.

        That a run is over, its jobs need not tell: the last of them may be skipped, and have no time.
        """
        going_on = self._news.going_on(self._scope)
        ended = self.unfinished.keys() - {signal.run_id for signal in going_on}
        return self._news_of(going_on, since) | ended

    def look_deeper(self, since: datetime, *, first: bool) -> dict[RefKind, frozenset[str]]:
        """What need not be found at once, and is read at once if it is; returns the refs that exist.

        At the *first* time, the runs that go on, however old. Of the newest ones, those that ended before
        *since* as the list has them: they say how the refs stand.
        """
        if first or not self._news.tells_all:
            for run_id in sorted(self._ended(since) - self.unread):
                self.read_once(run_id)
        page = next(iter(self._client.newest_runs(self._scope)), [])
        stored = self._known.updated_at({run.run_id for run in page})
        for run in page:
            if self._is_news(of_run(run), stored, since) and run.run_id not in self.unread:
                self.read_once(run.run_id)
            elif not (run.run_id in stored or run.run_id in self.unread or run.run_id in self._read):
                self._take_unread(run)
        return self._read_refs() if page else dict.fromkeys(RefKind, frozenset())

    def _take_unread(self, run: mapping.Run) -> None:
        """Keep of a run what the list tells, if its ref has series of its own."""
        selects = self._config.refs.selects
        if selects(run.ref_kind, run.ref):
            created = mapping.created_at(run, (), self._clock.now())
            self.runs.append(replace(mapping.record(run, (), created, selects), complete=False))

    # -- one run ---------------------------------------------------------------------------------

    def read(self, run_id: int) -> None:
        """Read one run in full, with jobs and earlier attempts; of one that lacks a part nothing is kept."""
        runs, jobs = len(self.runs), len(self.jobs)
        key = (self.unit.key, run_id)
        try:
            self._take(run_id)
        except SourceError as error:
            del self.runs[runs:], self.jobs[jobs:]
            self._put_off(key, error)
        else:
            self._memory.bad.pop(key, None)
            self.unread.discard(run_id)
            self._read.add(run_id)

    def read_once(self, run_id: int) -> None:
        """Read one run in full, unless this poll did."""
        if run_id not in self._read:
            self.read(run_id)

    def unread_first(self) -> list[int]:
        """Runs that could not be read, those that were tried the least first: all have their turn."""
        bad = self._memory.bad
        return sorted(self.unread, key=lambda run_id: (bad.get((self.unit.key, run_id), 0), run_id))

    def _take(self, run_id: int) -> None:
        run = self._client.run(self.unit.name, run_id)
        if run is None:
            self.deleted.append(run_id)
            return
        selects = self._config.refs.selects
        if self._config.refs.count != "all" and not selects(run.ref_kind, run.ref):
            self._leave_out(run_id)
            return
        first: datetime | None = None
        for attempt in self._attempts(run):
            jobs = self._client.run_jobs(self.unit.name, attempt)
            created = mapping.created_at(attempt, jobs, self._clock.now())
            first = first or created
            self.runs.append(mapping.record(attempt, jobs, created, selects, first=first))
            self._take_jobs(attempt, [job for job in jobs if not job.is_copy])

    def _leave_out(self, run_id: int) -> None:
        """Remember not to read the run again before it changes; the store need not know it."""
        if len(self._memory.left_out) >= _MOST_LEFT_OUT:
            self._memory.left_out.clear()
        self._memory.left_out[self.unit.key, run_id] = self._changed.get(run_id, EPOCH)

    def _attempts(self, run: mapping.Run) -> list[mapping.Run]:
        """The run as it ended in each earlier attempt, and as it is; the oldest first.

        All of them, whenever it changes: nothing tells which of them were seen to their ends.
        """
        earlier: list[mapping.Run] = []
        if run.has_attempts:
            numbers = range(1, run.attempt)
            found = [self._client.attempt(self.unit.name, run.run_id, number) for number in numbers]
            earlier = [attempt for attempt in found if attempt is not None]
        return [*earlier, run]

    def _take_jobs(self, run: mapping.Run, jobs: list[mapping.Job]) -> None:
        waits = self._memory.waits

        def queue_seconds(job: mapping.Job) -> float | None:
            """Unknown for one that is run again in place: its creation is that of the first time."""
            if not run.jobs_tell_waits or (job.attempt > 1 and not run.has_attempts):
                return None
            return waits.seconds(self.unit.key, job, jobs)

        if self._config.jobs.enabled:
            self.jobs += [mapping.job_record(job, queue_seconds(job)) for job in jobs]
        waits.note(self.unit.key, jobs)

    def _put_off(self, key: tuple[str, int], error: SourceError) -> None:
        """Raise *error*, unless this one run failed so often that it must not hold up the others."""
        if concerns_all(error):
            raise error
        run_id = key[1]
        self._memory.bad[key] = self._memory.bad.get(key, 0) + 1
        if self._memory.bad[key] < _BAD_ANSWERS and run_id not in self.unread:
            raise error
        self.unread.add(run_id)
        self.trouble = UnitTrouble(self.unit.name, Trouble.BAD_DATA, f"run {run_id} is put off: {error}")

    # -- refs ------------------------------------------------------------------------------------

    def _read_refs(self) -> dict[RefKind, frozenset[str]]:
        """The refs with series of their own that still exist, of each kind that the token may see."""
        refs, name = self._config.refs, self.unit.name
        found: dict[RefKind, frozenset[str]] = {}
        for kind, pages in ((RefKind.BRANCH, self._client.branches), (RefKind.TAG, self._client.tags)):
            lists = pages(name) if refs.of(kind).enabled else iter(())
            names = (mapping.name(ref) for page in lists for ref in page)
            with suppress(NotThere):  # who may read Actions may not read the code
                found[kind] = frozenset(ref for ref in names if refs.selects(kind, ref))
        pulls = self._client.open_pulls(name) if refs.change_requests.enabled else []
        found[RefKind.CHANGE_REQUEST] = frozenset(mapping.pull_ref(pull) for pull in pulls)
        return found


def _all_before(page: list[Signal], since: datetime) -> bool:
    return all(signal.changed_at is not None and signal.changed_at < since for signal in page)
