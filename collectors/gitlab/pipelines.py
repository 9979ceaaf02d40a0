"""The collector of GitLab pipelines and jobs: per project it asks what changed, and reads only that."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from prometheus_client.metrics_core import Metric

from collectors.gitlab import mapping
from collectors.gitlab.client import GitLabClient
from collectors.gitlab.discovery import Discoverer
from collectors.gitlab.settings import GitLabConfig
from exporter import ci_families
from exporter.contract import (
    Batch,
    Collector,
    Context,
    DemoSource,
    Discovery,
    Known,
    Position,
    Trouble,
    Unit,
    UnitTrouble,
)
from exporter.errors import BadAnswer, ConfigError, SourceError
from exporter.families import Samples
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.model.views import UnitView

log = logging.getLogger(__name__)

# Rows become visible when their transaction commits, later than their updated_at says: look back this far.
OVERLAP = timedelta(seconds=60)
_CHANGED_PER_BATCH = 50  # pipelines read in full before they are saved: bounds memory, and loss at a kill
_REREADS_PER_POLL = 20
_DETAILS_PER_POLL = 5
_PAGES_OF_ONE_INSTANT = 200
_BAD_ANSWERS = 3  # unusable answers for one pipeline after which it is left out, so that others go on
_NOT_STARTED = (Status.CREATED, Status.PENDING)
_UNDER_WAY = (Status.CREATED, Status.PENDING, Status.RUNNING)
_LONG_UNFINISHED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the polling of one project stands, as saved with each batch.

    ``updated_at`` is the newest change read. ``refs_read_at`` is when the existing refs were last read.
    ``unread`` are pipelines of which GitLab said nothing usable: they are tried again later, so that
    they neither hold up the others nor get lost.
    """

    updated_at: datetime | None = None
    refs_read_at: datetime | None = None
    unread: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """The cursor in *text*; the beginning for one that cannot be read."""
        try:
            fields = json.loads(text or "{}")
            unread = tuple(int(run_id) for run_id in fields.pop("unread", ()))
            times = {name: mapping.parse_instant(value) for name, value in fields.items()}
            return cls(**times, unread=unread)
        except (ValueError, TypeError, AttributeError):
            log.warning("a stored cursor could not be read; reading the project anew")
            return cls()

    def __str__(self) -> str:
        times = {"updated_at": self.updated_at, "refs_read_at": self.refs_read_at}
        fields: dict[str, Any] = {name: value.isoformat() for name, value in times.items() if value}
        return json.dumps(fields | ({"unread": self.unread} if self.unread else {}))


@dataclass(slots=True)
class _Reading:
    """What one poll has read so far of one project."""

    unit: Unit
    known: Known
    runs: dict[int, PipelineRun] = field(default_factory=dict)
    jobs: list[JobRun] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)
    unread: set[int] = field(default_factory=set)
    trouble: UnitTrouble | None = None


class GitLab(Collector[GitLabConfig]):
    """GitLab pipelines and jobs.

    A steady round costs one call per project and at most three per changed pipeline: the pipeline,
    its jobs, and the bridges that lead to its children.
    """

    name = "gitlab"
    provider: ClassVar[str] = "gitlab"
    config_model = GitLabConfig
    families = ci_families.FAMILIES

    def __init__(self, config: GitLabConfig, context: Context) -> None:
        super().__init__(config, context)
        self._check_tls(config)
        self._client = GitLabClient(
            config.url,
            config.token.get_secret_value() if config.token else "",
            config.token_file,
            context,
            per_page=config.per_page,
            operations_per_second=config.operations_per_second,
            verify=str(config.ca_file) if config.ca_file and config.tls_verify else config.tls_verify,
        )
        self.job_state = config.jobs.status  # type: ignore[misc]
        self._options = ci_families.RunOptions(
            self.provider, dense=config.dense, job_state=config.jobs.status
        )
        self._turn = threading.Lock()
        self._read_at: dict[tuple[str, int], datetime] = {}
        self._bad: dict[tuple[str, int], int] = {}

    @staticmethod
    def _check_tls(config: GitLabConfig) -> None:
        if config.ca_file and not config.ca_file.is_file():
            raise ConfigError(f"collectors.gitlab.ca_file: {config.ca_file} is no file")

    @property
    def target(self) -> str:
        """The host and path of the instance; the scheme may change without a new history."""
        parts = urlsplit(self.config.url.removesuffix("/api/v4"))
        return f"gitlab:{self.config.instance or parts.netloc + parts.path}"

    def credentials_changed(self) -> bool:
        """Whether the token file holds another token than the refused one."""
        return self._client.credentials_changed()

    def discover(self) -> Discovery:
        """Every project to watch."""
        return Discoverer(self._client, self.config).run()

    def collect(self) -> Iterator[Metric]:
        """The pages of all projects, from memory."""
        return self.context.page.collect()

    def unit_samples(self, view: UnitView) -> Samples:
        """What one project exposes."""
        return ci_families.unit_samples(view, self._options)

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    @classmethod
    def start_demo(cls, directory: Path) -> DemoSource:
        """Start the stand-in GitLab."""
        from collectors.gitlab.standin.demo import demo_source

        return demo_source(directory)

    # -- polls ---------------------------------------------------------------------------------

    def poll(self, unit: Unit, position: Position) -> Batch:
        """What changed in one project since the cursor, a bounded number of pipelines at a time.

        Only once nothing more is waiting, the slower matters follow: unfinished pipelines that the list
        does not show, the refs that exist, and details of those so far known from a list alone.
        """
        cursor = Cursor.parse(position.cursor)
        reading = _Reading(unit, position.known, unread=set(cursor.unread))
        after = cursor.updated_at - OVERLAP if cursor.updated_at else position.counts_from
        changed, updated_at, more = self._changed(reading, after, None)
        for entry in changed:
            self._read_run(reading, entry.run_id)
        cursor = replace(cursor, updated_at=max(filter(None, (updated_at, cursor.updated_at)), default=after))
        refs: dict[RefKind, frozenset[str]] = {}
        if not more:
            for run_id in sorted(reading.unread)[:_DETAILS_PER_POLL]:
                self._read_run(reading, run_id)
            self._reread_unfinished(reading)
            now = self.context.clock.now()
            if cursor.refs_read_at is None or _seconds(now - cursor.refs_read_at) >= self.schedule.discover:
                cursor, refs = replace(cursor, refs_read_at=now), self._read_refs(reading)
            for run in position.known.incomplete(_DETAILS_PER_POLL):
                if run.run_id not in reading.runs or not reading.runs[run.run_id].complete:
                    self._read_run(reading, run.run_id, alone=True)
        cursor = replace(cursor, unread=tuple(sorted(reading.unread)))
        return self._batch(reading, cursor, more=more, refs=refs)

    def backfill(self, unit: Unit, start: datetime, end: datetime, known: Known) -> Iterator[Batch]:
        """Batches that together hold every pipeline updated in [*start*, *end*)."""
        after, more = start, True
        while more:
            reading = _Reading(unit, known)
            changed, updated_at, more = self._changed(reading, after, end)
            for entry in changed:
                self._read_run(reading, entry.run_id)
            yield self._batch(reading, None, more=more)
            after = updated_at or end

    def _batch(
        self,
        reading: _Reading,
        cursor: Cursor | None,
        *,
        more: bool = False,
        refs: dict[RefKind, frozenset[str]] | None = None,
    ) -> Batch:
        """What was read, as one batch."""
        runs = reading.runs.values()
        if self.config.refs.count == "selected":
            runs = [run for run in runs if run.selected]  # type: ignore[assignment]
            ids = {run.run_id for run in runs}
            reading.jobs = [job for job in reading.jobs if job.run_id in ids]
        return Batch(
            cursor=str(cursor) if cursor else None,
            runs=tuple(runs),
            jobs=tuple(reading.jobs),
            deleted_runs=tuple(reading.deleted),
            refs=refs or {},
            refs_read_at=cursor.refs_read_at if cursor else None,
            more=more,
            busy=self._busy(reading),
            trouble=reading.trouble,
        )

    def _changed(
        self, reading: _Reading, after: datetime, before: datetime | None
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
            entries = self._client.changed_pipelines(reading.unit.key, after, page, before=before)
            stored = reading.known.updated_at([entry.run_id for entry in entries])
            changed = [entry for entry in entries if stored.get(entry.run_id) != entry.updated_at]
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

    def _read_run(self, reading: _Reading, run_id: int, *, alone: bool = False) -> None:
        """Read one pipeline in full, and its children that changed; *alone* leaves out jobs and children."""
        waiting = [run_id]
        visited: set[int] = set()
        while waiting:
            current = waiting.pop()
            if current not in visited:
                visited.add(current)
                waiting.extend(self._read_one(reading, current, alone=alone))

    def _read_one(self, reading: _Reading, run_id: int, *, alone: bool) -> list[int]:
        """Read one pipeline and its jobs, or nothing of it; returns its children that changed."""
        jobs_before = len(reading.jobs)
        children: list[int] = []
        try:
            run = self._read_pipeline(reading, run_id)
            if run and not alone and run.status not in _NOT_STARTED:
                if self.config.jobs.enabled:
                    self._read_jobs(reading, run)
                if self.config.child_pipelines:
                    children = self._changed_children(reading, run)
        except BadAnswer as error:
            # A pipeline saved without its jobs would look complete: they would never be asked for again.
            reading.runs.pop(run_id, None)
            del reading.jobs[jobs_before:]
            self._put_off(reading, run_id, error)
            return []
        self._bad.pop((reading.unit.key, run_id), None)
        reading.unread.discard(run_id)
        return children

    def _read_pipeline(self, reading: _Reading, run_id: int) -> PipelineRun | None:
        """One pipeline; ``None`` if it was deleted."""
        detail = self._client.pipeline(reading.unit.key, run_id)
        if detail is None:
            reading.deleted.append(run_id)
            return None
        selects, unknown = self.config.refs.selects, self.context.api.unknown_value
        run = mapping.run(detail, selects=selects, unknown=unknown)
        reading.runs[run_id] = run
        key = (reading.unit.key, run_id)
        with self._turn:
            if run.status.finished:
                self._read_at.pop(key, None)
            else:
                self._read_at[key] = self.context.clock.now()
        return run

    def _put_off(self, reading: _Reading, run_id: int, error: BadAnswer) -> None:
        """Raise *error*, unless this one pipeline failed so often that it must not hold up the others."""
        key = (reading.unit.key, run_id)
        self._bad[key] = self._bad.get(key, 0) + 1
        if self._bad[key] < _BAD_ANSWERS:
            raise error
        reading.unread.add(run_id)
        reading.trouble = UnitTrouble(
            reading.unit.name, Trouble.BAD_DATA, f"pipeline {run_id} is put off: {error}"
        )

    def _busy(self, reading: _Reading) -> bool:
        """Whether a pipeline is under way, so that its end is to be expected soon."""
        oldest = self.context.clock.now() - _LONG_UNFINISHED
        runs = {run.run_id: run for run in reading.known.unfinished()} | reading.runs
        return any(run.status in _UNDER_WAY and run.created_at > oldest for run in runs.values())

    def _read_jobs(self, reading: _Reading, run: PipelineRun) -> None:
        """Read the jobs of one pipeline, retried ones too."""
        unknown = self.context.api.unknown_value
        details = self._client.jobs(reading.unit.key, run.run_id)
        jobs = [mapping.job(job, run.run_id, unknown=unknown) for job in details]
        reading.jobs.extend(jobs)
        if run.run_id in reading.runs:
            reading.runs[run.run_id] = mapping.with_earlier_status(run, jobs)

    def _changed_children(self, reading: _Reading, run: PipelineRun) -> list[int]:
        """Child pipelines of *run* that the store does not have as they are now.

        Pipelines started in other projects are in the lists of those projects.
        """
        bridges = (
            mapping.downstream(bridge) for bridge in self._client.bridges(reading.unit.key, run.run_id)
        )
        children = {
            child.run_id: child.updated_at
            for child in bridges
            if child and child.is_in(reading.unit) and child.run_id not in reading.runs
        }
        stored = reading.known.updated_at(children)
        return [
            run_id
            for run_id, updated_at in children.items()
            if updated_at is None or stored.get(run_id) != updated_at
        ]

    # -- slower matters ------------------------------------------------------------------------

    def _reread_unfinished(self, reading: _Reading) -> None:
        """Look again at unfinished pipelines of which the list may tell nothing any more.

        Child pipelines are in no list, and a deleted one vanishes from it.
        """
        now = self.context.clock.now()
        due: list[tuple[datetime, PipelineRun]] = []
        with self._turn:
            for run in reading.known.unfinished():
                if run.run_id in reading.runs:
                    continue
                key = (reading.unit.key, run.run_id)
                is_child = run.source == mapping.CHILD
                # After a restart, children are read at once; the list tells of the others.
                read_at = self._read_at.setdefault(key, run.created_at if is_child else now)
                if _seconds(now - read_at) >= self._reread_wait(run, now, is_child=is_child):
                    due.append((read_at, run))
        for _, run in sorted(due, key=lambda pair: pair[0])[:_REREADS_PER_POLL]:
            self._reread(reading, run)

    def _reread_wait(self, run: PipelineRun, now: datetime, *, is_child: bool) -> float:
        """Seconds between two looks at an unfinished pipeline: a quarter of its age, within bounds.

        A pipeline that is blocked for weeks is then looked at every few days, not every few minutes.
        """
        quarter = _seconds(now - run.created_at) / 4
        if now - run.created_at > _LONG_UNFINISHED:
            return quarter
        schedule = self.schedule
        return max(schedule.base, min(quarter, schedule.maximum)) if is_child else schedule.maximum

    def _reread(self, reading: _Reading, run: PipelineRun) -> None:
        """Read one unfinished pipeline again; its jobs only if something can have happened to them."""
        waits = run.status in (*_NOT_STARTED, Status.MANUAL)
        children = self._read_one(reading, run.run_id, alone=waits)
        again = reading.runs.get(run.run_id)
        if again is None:
            return
        if waits and again.status is not run.status:
            self._read_run(reading, run.run_id)
            return
        for child in children:
            self._read_run(reading, child)
        if replace(again, earlier=None) == run:
            del reading.runs[run.run_id]

    def _read_refs(self, reading: _Reading) -> dict[RefKind, frozenset[str]]:
        """The selected refs that exist, and the newest pipeline of those not yet known."""
        refs: dict[RefKind, frozenset[str]] = {}
        for kind, scope in ((RefKind.BRANCH, "branches"), (RefKind.TAG, "tags")):
            if not self.config.refs.of(kind).enabled:
                refs[kind] = frozenset()
                continue
            entries = [
                entry
                for entry in self._client.newest_pipelines(reading.unit.key, scope)
                if self.config.refs.selects(kind, entry.ref)
            ]
            refs[kind] = frozenset(entry.ref for entry in entries)
            stored = reading.known.updated_at([entry.run_id for entry in entries])
            for entry in entries:
                if entry.run_id not in stored and entry.run_id not in reading.runs:
                    reading.runs[entry.run_id] = mapping.run_from_list(
                        entry, kind, unknown=self.context.api.unknown_value
                    )
        refs[RefKind.CHANGE_REQUEST] = frozenset()
        if self.config.refs.change_requests.enabled:
            open_ = self._client.open_change_requests(reading.unit.key) or []
            refs[RefKind.CHANGE_REQUEST] = frozenset(
                ref for entry in open_ for ref in mapping.open_change_request_refs(entry)
            )
        return refs


def _seconds(span: timedelta) -> float:
    return span.total_seconds()
