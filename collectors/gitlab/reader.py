"""Reading one project: what changed, what is unfinished, which refs exist."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from collectors._failures import concerns_all
from collectors.gitlab import executions, mapping
from collectors.gitlab.client import GitLabClient
from collectors.gitlab.settings import GitLabConfig
from exporter.clock import EPOCH
from exporter.contract import Context, Known, Schedule, Trouble, Unit, UnitTrouble
from exporter.errors import SourceError
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status

# Rows become visible when their transaction commits, later than their updated_at says: look back this far.
OVERLAP = timedelta(seconds=60)
_CHANGED_PER_BATCH = 50  # pipelines read in full before they are saved: bounds memory, and loss at a kill
_REREADS_PER_POLL = 20
_PAGES_OF_ONE_INSTANT = 200
_PAGES_OF_CHILDREN = 10
_UNREADS_PER_POLL = 5
_BAD_ANSWERS = 3  # unusable answers for one pipeline after which it is left out, so that others go on
_MOST_LEFT_OUT = 20_000
_MOST_REFS = 50_000
_NOT_STARTED = (Status.CREATED, Status.PENDING)
_UNDER_WAY = (Status.CREATED, Status.PENDING, Status.RUNNING)
_LONG_UNFINISHED = timedelta(days=1)


class RunRef(NamedTuple):
    """Which ref a pipeline is for, and whether it is saved and counted at all."""

    kind: RefKind
    ref: str
    counts: bool


@dataclass(slots=True)
class Memory:
    """What is worth knowing from one poll to the next, but not worth storing; shared by all projects.

    ``read_at`` is when an unfinished pipeline was last read, ``bad`` how often in a row it could not be
    understood, ``left_out`` as of when it was found to be for a ref that does not count, ``refs`` what hooks
    do not always tell; all by ``(project id, pipeline id)``.
    """

    turn: threading.Lock = field(default_factory=threading.Lock)
    read_at: dict[tuple[str, int], datetime] = field(default_factory=dict)
    bad: dict[tuple[str, int], int] = field(default_factory=dict)
    left_out: dict[tuple[str, int], datetime] = field(default_factory=dict)
    refs: dict[tuple[str, int], RunRef] = field(default_factory=dict)

    def note_ref(self, key: tuple[str, int], ref: RunRef) -> None:
        """Remember it; those that were not seen for longest are forgotten when there are too many."""
        with self.turn:
            self.refs.pop(key, None)
            self.refs[key] = ref
            if len(self.refs) > _MOST_REFS:
                del self.refs[next(iter(self.refs))]


class Reader:
    """One poll of one project; what it has read is in its public attributes."""

    def __init__(
        self,
        unit: Unit,
        known: Known,
        *,
        client: GitLabClient,
        config: GitLabConfig,
        context: Context,
        schedule: Schedule,
        memory: Memory,
        unread: frozenset[int] = frozenset(),
    ) -> None:
        self.unit = unit
        self.runs: dict[int, PipelineRun] = {}
        self.past: list[PipelineRun] = []
        self.jobs: list[JobRun] = []
        self.deleted: list[int] = []
        self.unread = set(unread)
        self.trouble: UnitTrouble | None = None
        self._known = known
        self._client = client
        self._config = config
        self._clock = context.clock
        self._unknown = context.api.unknown_value
        self._schedule = schedule
        self._memory = memory

    def changed(
        self, after: datetime, before: datetime | None
    ) -> tuple[list[mapping.ListEntry], datetime | None, bool]:
        """The next pipelines that the store does not have as they are now.

        The list is ordered by ``updated_at`` and moves while it is read: instead of turning its pages,
        it is asked for anew from the last time seen. Only pipelines of one and the same instant, more
        than a page of them, are read by page.

        Returns:
            The entries, the time up to which everything was looked at, and whether more is waiting.
        """
        page = 1
        seen: datetime | None = None
        while page <= _PAGES_OF_ONE_INSTANT:
            entries = self._client.changed_pipelines(self.unit.key, after, page, before=before)
            stored = self._known.updated_at([entry.run_id for entry in entries])
            changed = [entry for entry in entries if self._is_news(entry, stored.get(entry.run_id))]
            full = len(entries) >= self._client.per_page
            if len(changed) > _CHANGED_PER_BATCH:
                changed = changed[:_CHANGED_PER_BATCH]
                return changed, changed[-1].updated_at, True
            if entries:
                seen = max(entry.updated_at for entry in entries)
            if changed or not full:
                return changed, seen, full
            # A whole page of what we know: go on behind it.
            if seen and seen > after:
                after, page = seen, 1
            else:
                page += 1
        raise SourceError(f"more than {_PAGES_OF_ONE_INSTANT} pages of pipelines changed at one instant")

    def _is_news(self, entry: mapping.ListEntry, stored: datetime | None) -> bool:
        """Whether the pipeline is to be read; those put off are read again at their own pace."""
        if stored == entry.updated_at or entry.run_id in self.unread:
            return False
        if self._config.refs.count == "all":
            return True
        # The list does not tell a tag from a branch: only what is selected as neither is out for sure.
        selects, kind = self._config.refs.selects, mapping.ref_kind(entry.ref, tag=False)
        if not selects(kind, entry.ref) and (
            kind is RefKind.CHANGE_REQUEST or not selects(RefKind.TAG, entry.ref)
        ):
            return False
        return self._memory.left_out.get(self._key(entry.run_id)) != entry.updated_at

    def _key(self, run_id: int) -> tuple[str, int]:
        return (self.unit.key, run_id)

    def read_run(self, run_id: int, *, alone: bool = False) -> None:
        """Read one pipeline in full, and its children that changed; *alone* leaves out jobs and children.

        Nothing of it is kept if a part of it cannot be read: saved without its jobs or children, it
        would look complete, and they would never be asked for again.
        """
        runs, jobs, past, deleted = dict(self.runs), len(self.jobs), len(self.past), len(self.deleted)
        try:
            self._read_with_children(run_id, alone=alone)
        except SourceError as error:
            self.runs = runs
            del self.jobs[jobs:], self.past[past:], self.deleted[deleted:]
            self._put_off(run_id, error)
        else:
            self._memory.bad.pop(self._key(run_id), None)
            self.unread.discard(run_id)

    def _read_with_children(self, run_id: int, *, alone: bool) -> None:
        waiting = [run_id]
        visited: set[int] = set()
        while waiting:
            current = waiting.pop()
            if current not in visited:
                visited.add(current)
                waiting.extend(self._read_one(current, alone=alone))

    def _read_one(self, run_id: int, *, alone: bool) -> list[int]:
        """Read one pipeline and its jobs; returns its children that changed."""
        run = self._read_pipeline(run_id)
        children: list[int] = []
        waits = run is not None and run.status in _NOT_STARTED and not run.earlier
        if run and not alone and not waits and run_id in self.runs:
            children = self._read_parts(run)
        with self._memory.turn:
            if run and not run.status.finished:
                self._memory.read_at[self._key(run_id)] = self._clock.now()
            else:
                self._memory.read_at.pop(self._key(run_id), None)
        return children

    def _read_pipeline(self, run_id: int) -> PipelineRun | None:
        """One pipeline; ``None`` if it was deleted."""
        detail = self._client.pipeline(self.unit.key, run_id)
        if detail is None:
            self.deleted.append(run_id)
            return None
        run = mapping.run(detail, selects=self._config.refs.selects, unknown=self._unknown)
        counts = run.selected or self._config.refs.count == "all"
        self._memory.note_ref(self._key(run_id), RunRef(run.ref_kind, run.ref, counts))
        if counts:
            self.runs[run_id] = run
        else:
            self._leave_out(run)
        return run

    def _leave_out(self, run: PipelineRun) -> None:
        """Remember not to read the pipeline again before it changes; the store need not know it."""
        if len(self._memory.left_out) >= _MOST_LEFT_OUT:
            self._memory.left_out.clear()
        self._memory.left_out[self._key(run.run_id)] = run.updated_at

    def _put_off(self, run_id: int, error: SourceError) -> None:
        """Raise *error*, unless this one pipeline failed so often that it must not hold up the others."""
        if concerns_all(error):
            raise error
        key = self._key(run_id)
        self._memory.bad[key] = self._memory.bad.get(key, 0) + 1
        if self._memory.bad[key] < _BAD_ANSWERS and run_id not in self.unread:
            raise error
        self.unread.add(run_id)
        self.trouble = UnitTrouble(self.unit.name, Trouble.BAD_DATA, f"pipeline {run_id} is put off: {error}")

    def read_unread(self) -> None:
        """Try again what was put off, what failed least often first."""
        by_failures = sorted(
            self.unread, key=lambda run_id: (self._memory.bad.get(self._key(run_id), 0), run_id)
        )
        for run_id in by_failures[:_UNREADS_PER_POLL]:
            self.read_run(run_id)

    def busy(self) -> bool:
        """Whether a pipeline is under way, so that its end is to be expected soon."""
        oldest = self._clock.now() - _LONG_UNFINISHED
        runs = {run.run_id: run for run in self._known.unfinished()} | self.runs
        return any(run.status in _UNDER_WAY and run.created_at > oldest for run in runs.values())

    def _read_parts(self, run: PipelineRun) -> list[int]:
        """Read the jobs of one pipeline, retried ones too, and its bridges; returns children that changed."""
        unit, unknown = self.unit.key, self._unknown
        jobs = self._client.jobs(unit, run.run_id) if self._config.jobs.enabled else []
        bridges = self._client.bridges(unit, run.run_id) if self._config.child_pipelines else []
        builds = [mapping.job(job, run.run_id, unknown=unknown) for job in jobs]
        self.jobs.extend(builds)
        if builds:
            run = replace(run, commit_title=mapping.commit_title(jobs[0]))
            triggers = [mapping.job(bridge, run.run_id, unknown=unknown) for bridge in bridges]
            self.runs[run.run_id] = executions.with_earlier_status(run, [*builds, *triggers])
            self.past.extend(executions.unseen(run, builds, triggers))
        return self._changed_children(bridges)

    def _changed_children(self, bridges: list[Any]) -> list[int]:
        """Child pipelines behind *bridges* that the store does not have as they are now.

        Pipelines started in other projects are in the lists of those projects.
        """
        children = {
            child.run_id: child.updated_at
            for child in map(mapping.downstream, bridges)
            if child and child.is_in(self.unit) and child.run_id not in self.runs
        }
        stored = self._known.updated_at(children)
        return [
            run_id
            for run_id, updated_at in children.items()
            if updated_at is None or stored.get(run_id) != updated_at
        ]

    # -- slower matters ------------------------------------------------------------------------

    def reread_unfinished(self) -> None:
        """Look again at unfinished pipelines of which the list may tell nothing any more.

        Child pipelines are in no list, and a deleted one vanishes from it.
        """
        now = self._clock.now()
        due: list[tuple[datetime, PipelineRun]] = []
        with self._memory.turn:
            for run in self._known.unfinished():
                if run.run_id in self.runs:
                    continue
                key = (self.unit.key, run.run_id)
                is_child = run.source == mapping.CHILD
                # After a restart, children are read at once; the list tells of the others.
                read_at = self._memory.read_at.setdefault(key, EPOCH if is_child else now)
                if _seconds(now - read_at) >= self._reread_wait(run, now, is_child=is_child):
                    due.append((read_at, run))
        for _, run in sorted(due, key=lambda pair: pair[0])[:_REREADS_PER_POLL]:
            self._reread(run)

    def _reread_wait(self, run: PipelineRun, now: datetime, *, is_child: bool) -> float:
        """Seconds between two looks at an unfinished pipeline: a quarter of its age, within bounds.

        A pipeline that is blocked for weeks is then looked at every few days, not every few minutes.
        """
        quarter = _seconds(now - run.created_at) / 4
        if now - run.created_at > _LONG_UNFINISHED:
            return quarter
        if not is_child:
            # The list tells of every change of these; only that one was deleted it cannot tell.
            return max(quarter, self._schedule.discover)
        return max(self._schedule.base, min(quarter, self._schedule.maximum))

    def _reread(self, run: PipelineRun) -> None:
        """Read one unfinished pipeline again; its jobs only if something can have happened to them."""
        waits = run.status in (*_NOT_STARTED, Status.MANUAL)
        self.read_run(run.run_id, alone=waits)
        again = self.runs.get(run.run_id)
        if again is None:
            return
        if waits and again.status is not run.status:
            self.read_run(run.run_id)
        elif replace(again, earlier=None, commit_title=again.commit_title or run.commit_title) == run:
            # The title is known from the jobs, which were perhaps not read this time.
            del self.runs[run.run_id]

    def read_refs(self) -> dict[RefKind, frozenset[str]]:
        """The selected refs that exist, and the newest pipeline of each as the list has it.

        Known ones too: a ref that was not selected when its pipeline was read may be so now.
        """
        refs: dict[RefKind, frozenset[str]] = {}
        newest: dict[int, PipelineRun] = {}
        for kind, scope in ((RefKind.BRANCH, "branches"), (RefKind.TAG, "tags")):
            if not self._config.refs.of(kind).enabled:
                refs[kind] = frozenset()
                continue
            entries = [
                entry
                for entry in self._client.newest_pipelines(self.unit.key, scope)
                if self._config.refs.selects(kind, entry.ref)
            ]
            refs[kind] = frozenset(entry.ref for entry in entries)
            for entry in entries:
                newest[entry.run_id] = mapping.run_from_list(entry, kind, unknown=self._unknown)
        if not self._config.refs.change_requests.enabled:
            refs[RefKind.CHANGE_REQUEST] = frozenset()
        elif (open_ := self._client.open_change_requests(self.unit.key)) is not None:
            refs[RefKind.CHANGE_REQUEST] = frozenset(
                ref for entry in open_ for ref in mapping.open_change_request_refs(entry)
            )
        # All or nothing: half of the lists would be saved as if they were the whole.
        self.runs = newest | self.runs
        return refs

    def read_changed_children(self, after: datetime) -> None:
        """Read child pipelines that were run again after they had finished.

        Nothing else tells of them: their parent does not change, and the usual list leaves them out.
        """
        if not self._config.child_pipelines:
            return
        for page in range(1, _PAGES_OF_CHILDREN + 1):
            entries = self._client.changed_pipelines(self.unit.key, after, page, source=mapping.CHILD)
            stored = self._known.updated_at([entry.run_id for entry in entries])
            for entry in entries:
                if entry.run_id not in self.runs and stored.get(entry.run_id) != entry.updated_at:
                    self.read_run(entry.run_id)
            if len(entries) < self._client.per_page:
                return


def _seconds(span: timedelta) -> float:
    return span.total_seconds()
