"""Reading the runs of one repository: what is news, its jobs, and the attempts that passed unseen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from collectors._failures import concerns_all
from collectors._values import integer, json_object
from collectors.github import mapping
from collectors.github.client import GitHubClient
from collectors.github.mapping import Entry, Job
from collectors.github.memory import Memory
from collectors.github.settings import GitHubConfig
from exporter.contract import Context, Known, Trouble, Unit, UnitTrouble
from exporter.errors import BadAnswer, SourceError, UnitUnavailable
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status

_BAD_ANSWERS = 3  # unusable answers for one run after which it is left out, so that others go on
_UNREADS_PER_POLL = 5
_RUNNING_PER_POLL = 20
_NAMES_ONE_BY_ONE = 2
_LONG_UNFINISHED = timedelta(days=1)
_UNDER_WAY = (Status.CREATED, Status.PENDING, Status.RUNNING)


class Reader:
    """One poll of one repository; what it has read is in its public attributes."""

    def __init__(
        self,
        unit: Unit,
        known: Known,
        counts_from: datetime,
        *,
        client: GitHubClient,
        config: GitHubConfig,
        context: Context,
        memory: Memory,
        attempts: dict[int, int],
        unread: Iterable[int] = (),
    ) -> None:
        self.unit = unit
        self.path = quote(unit.name)
        self.runs: dict[int, PipelineRun] = {}
        self.past: list[PipelineRun] = []
        self.jobs: list[JobRun] = []
        self.deleted: list[int] = []
        self.attempts = dict(attempts)
        self.unread = set(unread)
        self.trouble: UnitTrouble | None = None
        self.renamed: str | None = None
        self._known = known
        self._counts_from = counts_from
        self._client = client
        self._config = config
        self._clock = context.clock
        self._unknown = context.api.unknown_value
        self._memory = memory
        self._unfinished: dict[int, PipelineRun] | None = None

    @property
    def unfinished(self) -> dict[int, PipelineRun]:
        """The stored runs that are not finished, by id."""
        if self._unfinished is None:
            self._unfinished = {run.run_id: run for run in self._known.unfinished()}
        return self._unfinished

    # -- what is news ----------------------------------------------------------------------------

    def entries(self, values: Sequence[object]) -> list[Entry]:
        """The runs of a page, the oldest first; all of them must be of this repository.

        An entry that cannot be understood is put off without its neighbours, as long as it has an id.
        """
        found: list[Entry] = []
        for value in values:
            try:
                found.append(self._entry(value))
            except BadAnswer as error:
                run_id = integer(json_object(value, "workflow run"), "id")
                self._leave_for_later(run_id, error)
        return sorted(found, key=lambda one: (one.created_at, one.run_id))

    def _entry(self, value: object) -> Entry:
        """One run, unless it is a stranger's: another repository may have got the name that ours had."""
        entry = mapping.entry(value, self._unknown)
        if entry.repository != self.unit.key:
            detail = (
                f"{self.unit.name} is another repository now; the one that was watched was moved or deleted"
            )
            raise UnitUnavailable(detail, Trouble.MOVED)
        if entry.path != self.unit.name:
            self.renamed = entry.path
        return entry

    def news(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of *entries* that the store does not have as they are now.

        GitHub's times are whole seconds: of two states within one, the status and the attempt tell.
        """
        stored = self._known.updated_at([entry.run_id for entry in entries])
        return [entry for entry in entries if self._is_news(entry, stored.get(entry.run_id))]

    def _is_news(self, entry: Entry, stored: datetime | None) -> bool:
        if entry.run_id in self.unread or entry.run_id in self.runs or not self._wanted(entry):
            return False
        if not entry.status.finished:
            before = self.unfinished.get(entry.run_id)
            return (
                before is None or before.updated_at != entry.updated_at or before.status is not entry.status
            )
        if stored is None:
            return entry.updated_at >= self._counts_from or entry.run_id in self.unfinished
        if stored != entry.updated_at or entry.run_id in self.unfinished:
            return True
        return entry.attempt > 1 and self.attempts.get(entry.run_id, 0) < entry.attempt

    def _wanted(self, entry: Entry) -> bool:
        """Whether runs of such a ref count at all, as far as that is known without asking."""
        return self._config.refs.count == "all" or self._may_select(entry)

    def _may_select(self, entry: Entry) -> bool:
        """Whether the ref may get series of its own; sure once it is known what sort of ref it is."""
        kind = self._memory.kind_of(self.unit, entry)
        kinds = [RefKind.BRANCH, RefKind.TAG] if kind is None else [kind]
        return any(self._config.refs.selects(one, entry.ref) for one in kinds)

    # -- refs ------------------------------------------------------------------------------------

    def _kind(self, entry: Entry) -> RefKind:
        kind = self._memory.kind_of(self.unit, entry)
        if kind is not None:
            return kind
        is_tag = self._client.is_tag(self.path, entry.head)
        self._memory.remember_tag(self.unit.key, entry.head, is_tag)
        return RefKind.TAG if is_tag else RefKind.BRANCH

    # -- runs ------------------------------------------------------------------------------------

    def read_run(self, run_id: int) -> None:
        """Read one run by its id; one that is gone is noted as deleted."""
        try:
            value = self._client.run(self.path, run_id)
            if value is None:
                self.deleted.append(run_id)
                self.unread.discard(run_id)
                return
            entry = self._entry(value)
        except SourceError as error:
            self._put_off(run_id, error)
            return
        if self._wanted(entry):
            self.read(entry)
        if run_id in self.unfinished:
            self._memory.read_at.setdefault(self.unit.key, {})[run_id] = self._clock.now()

    def read(self, entry: Entry) -> None:
        """Read the rest of one run: its jobs, and the attempts that ended unseen.

        Nothing of it is kept if a part of it cannot be read: saved without its jobs, it would look complete,
        and they would never be asked for again.
        """
        try:
            found = self._read(entry)
        except SourceError as error:
            self._put_off(entry.run_id, error)
            return
        self._memory.bad.pop((self.unit.key, entry.run_id), None)
        self.unread.discard(entry.run_id)
        if found is None:
            return
        run, jobs, past = found
        self.runs[entry.run_id] = run
        self.jobs += [job.record for job in jobs]
        self.past += past
        if entry.attempt > 1:
            self.attempts[entry.run_id] = entry.attempt if run.status.finished else entry.attempt - 1

    def _read(self, entry: Entry) -> tuple[PipelineRun, list[Job], list[PipelineRun]] | None:
        """The run, its jobs, and its unseen attempts; ``None`` if runs of its ref do not count."""
        kind = self._kind(entry)
        if not self._wanted(entry):
            return None
        waits = entry.attempt == 1 and not entry.status.finished and entry.status is not Status.RUNNING
        jobs: list[Job] = []
        if self._config.jobs.enabled and not waits:
            jobs = self._jobs(entry.run_id) or []
        past = []
        for attempt in range(self.attempts.get(entry.run_id, 0) + 1, entry.attempt):
            value = self._client.attempt(self.path, entry.run_id, attempt)
            if value is not None:
                past.append(self._record(self._entry(value), kind, jobs))
        return self._record(entry, kind, jobs), jobs, past

    def _jobs(self, run_id: int, etag: str = "") -> list[Job] | None:
        """The jobs of a run; ``None`` if they are as they were with *etag*."""
        answer = self._client.jobs(self.path, run_id, etag)
        if answer is None:
            return None
        self._memory.remember_jobs(self.unit.key, run_id, answer[1])
        return mapping.jobs(answer[0], self._unknown)

    def read_running_jobs(self) -> None:
        """Look at the jobs of runs that go on: their ends are told by no list before the run's own."""
        going = [run for run in self.unfinished.values() if run.status is Status.RUNNING]
        for run in going[-_RUNNING_PER_POLL:]:
            if run.run_id in self.runs or run.run_id in self.deleted or not self._config.jobs.enabled:
                continue
            jobs = self._jobs(run.run_id, self._memory.jobs.get((self.unit.key, run.run_id), ""))
            self.jobs += [job.record for job in jobs or ()]

    def learn_refs(self, entries: Sequence[Entry]) -> None:
        """Find out in one call which of many names are tags; a few are asked for one by one."""
        names = {entry.head for entry in entries if self._memory.kind_of(self.unit, entry) is None}
        if len(names) <= _NAMES_ONE_BY_ONE:
            return
        answer = self._client.refs(self.path, "tags", "")
        tags = {mapping.ref_name(value, "refs/tags/") for value in answer[0]} if answer else set()
        for name in names:
            self._memory.remember_tag(self.unit.key, name, name in tags)

    def _record(self, entry: Entry, kind: RefKind, jobs: list[Job]) -> PipelineRun:
        selected = self._config.refs.selects(kind, entry.ref)
        return mapping.run(entry, kind, jobs, selected=selected)

    def list_newest(self, entries: Sequence[Entry]) -> None:
        """Take over the newest run of each selected ref as the list tells it: shown, and not counted.

        Their jobs are read later, if anybody wants to see them.
        """
        newest: dict[tuple[str, str, str, bool], Entry] = {}
        for entry in entries:
            newest[entry.pipeline, entry.ref, entry.source, entry.change_request] = entry
        shown = [entry for entry in newest.values() if self._may_select(entry)]
        # What is known in full must not be overwritten with what the list tells.
        stored = self._known.updated_at([entry.run_id for entry in shown])
        unread_jobs = self._config.jobs.enabled and self._config.jobs.status
        self.learn_refs(shown)
        for entry in shown:
            is_history = entry.updated_at < self._counts_from or entry.run_id in stored
            if entry.run_id in self.runs or not (entry.status.finished and is_history):
                continue
            kind = self._kind(entry)
            if self._config.refs.selects(kind, entry.ref):
                complete = entry.run_id not in stored and not unread_jobs
                self.runs[entry.run_id] = mapping.run(entry, kind, (), selected=True, complete=complete)

    def _put_off(self, run_id: int, error: SourceError) -> None:
        """Raise *error*, unless this one run failed so often that it must not hold up the others."""
        if concerns_all(error):
            raise error
        key = (self.unit.key, run_id)
        self._memory.bad[key] = self._memory.bad.get(key, 0) + 1
        if self._memory.bad[key] < _BAD_ANSWERS and run_id not in self.unread:
            raise error
        self._leave_for_later(run_id, error)

    def _leave_for_later(self, run_id: int, error: SourceError) -> None:
        self.unread.add(run_id)
        self.trouble = UnitTrouble(self.unit.name, Trouble.BAD_DATA, f"run {run_id} is put off: {error}")

    def read_unread(self) -> None:
        """Try again what was put off, what failed least often first."""
        bad = self._memory.bad
        waiting = sorted(self.unread, key=lambda run_id: (bad.get((self.unit.key, run_id), 0), run_id))
        for run_id in waiting[:_UNREADS_PER_POLL]:
            self.read_run(run_id)

    def busy(self) -> bool:
        """Whether a run is under way, so that its end is to be expected soon."""
        oldest = self._clock.now() - _LONG_UNFINISHED
        runs = self.unfinished | self.runs
        return any(run.status in _UNDER_WAY and run.updated_at > oldest for run in runs.values())
