"""The collector of Jenkins' builds: one look at all jobs, and then only what changed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from collectors._api import ApiCollector
from collectors._ci import CiCollector
from collectors._hooks import body_object
from collectors.jenkins import demos, hooks
from collectors.jenkins.client import JenkinsClient
from collectors.jenkins.cursor import Cursor, Mark
from collectors.jenkins.mapping import Build
from collectors.jenkins.memory import Memory
from collectors.jenkins.reader import Reader
from collectors.jenkins.settings import JenkinsConfig
from collectors.jenkins.sweep import Job, Seen, Sweeper
from exporter.contract import Batch, Context, Discovery, Known, Position, Unit
from exporter.errors import SourceError, Unauthorized, UnitUnavailable
from exporter.hooks import Hook, HookNews
from exporter.model.runs import RefKind

_BUILDS_PER_BATCH = 50  # read in full before they are saved: bounds memory, and loss at a kill
_MOST_FAILURES = 3  # builds that cannot be read before the rest of the unit is not tried


@dataclass(frozen=True, slots=True)
class _Backlog:
    """What is left to read of a unit, for the poll that goes on from *cursor*.

    ``builds`` are listed already, ``more`` is whether there are others to list.
    """

    cursor: str
    seen: Seen
    builds: list[tuple[Job, Build]]
    more: bool


class Jenkins(ApiCollector[JenkinsConfig, JenkinsClient], CiCollector[JenkinsConfig]):
    """Builds of Jenkins: a plain job is a unit, and so is a multibranch project with all of its branches.

    A steady round costs one call for all jobs together, or one for each folder that is named. A build
    that ended costs one more for its stages, a job of which several builds were missed one for their list.
    """

    name = "jenkins"
    provider: ClassVar[str] = "jenkins"
    config_model = JenkinsConfig
    unit_noun: ClassVar[str] = "jobs"
    hook_name: ClassVar[str] = "jenkins"
    adopts: ClassVar[bool] = False
    start_demo = staticmethod(demos.builds_source)

    def __init__(self, config: JenkinsConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = JenkinsClient(config, context, self.name)
        self._sweeper = Sweeper(self._client, config, context)
        self._memory = Memory()
        self._backlogs: dict[str, _Backlog] = {}

    def credentials_changed(self) -> bool:
        """Whether the token file holds another token than the refused one."""
        changed = self._client.credentials_changed()
        if changed:
            self._sweeper.forget()
        return changed

    def discover(self) -> Discovery:
        """Every job to watch."""
        sweep = self._sweeper.all()
        self._memory.stages = self._memory.stages or None  # the plugin may be there by now
        self._memory.refs.clear()  # what was told last may not have been saved
        units = tuple(self._unit(seen) for seen in sweep.units.values())
        return Discovery(units, tuple(sweep.troubles))

    def _unit(self, seen: Seen) -> Unit:
        """The unit, with its primary branch where that is known."""
        primary = self._memory.primary.get(seen.unit.key)
        return replace(seen.unit, default_branch=primary) if primary else seen.unit

    # -- polls ---------------------------------------------------------------------------------

    def poll(self, unit: Unit, position: Position) -> Batch:
        """What is new in one unit since the cursor, a bounded number of builds at a time.

        What was read before something failed is saved all the same, and the poll counts as failed.
        """
        cursor = Cursor.parse(position.cursor)
        backlog = self._backlogs.pop(unit.key, None)
        if backlog and backlog.cursor != position.cursor:
            backlog = None
        seen = backlog.seen if backlog else self._sweeper.of(unit)
        reader = self._reader(seen, position.known, position.counts_from)
        cursor.keep(seen.jobs.keys())
        if backlog and backlog.builds:
            builds, reader.more = backlog.builds, backlog.more
        else:
            builds = self._news(reader, cursor)
        now, left = builds[:_BUILDS_PER_BATCH], builds[_BUILDS_PER_BATCH:]
        failure = self._read(reader, cursor, now)
        more = (bool(left) or reader.more) and failure is None
        refs: dict[RefKind, frozenset[str]] = {}
        if not more and failure is None:
            failure = self._reread(reader, cursor)
            refs = reader.refs()
        if more:  # what could not be listed is asked for, and told of, after all this
            self._backlogs[unit.key] = _Backlog(str(cursor), seen, left, reader.more)
        else:
            failure = failure or reader.failure
        primary = self._memory.primary.get(unit.key)
        return Batch(
            cursor=str(cursor),
            runs=tuple(reader.runs.values()),
            jobs=tuple(reader.jobs),
            deleted_runs=tuple(sorted(reader.deleted)),
            refs=refs,
            refs_read_at=seen.at if refs else None,
            more=more,
            busy=reader.busy,
            unit=replace(unit, default_branch=primary)
            if primary and primary != unit.default_branch
            else None,
            trouble=reader.trouble,
            failure=failure,
        )

    def _news(self, reader: Reader, cursor: Cursor) -> list[tuple[Job, Build]]:
        """Builds that the cursor does not know, about a batch of them, those of one job in order.

        A branch whose builds cannot be listed holds up no other, nor does one with a long history: such ones
        come last.
        """
        found: list[tuple[Job, Build]] = []
        unlisted = self._memory.unlisted
        behind = {job: reader.behind(job, cursor.marks.get(job.name)) for job in reader.seen.jobs.values()}
        for job in sorted(behind, key=lambda job: (job.full_name in unlisted, behind[job])):
            if behind[job] and (len(found) >= _BUILDS_PER_BATCH or reader.listed_enough):
                reader.more = True
                break
            failed_before = reader.failure
            try:
                with reader.tolerant():
                    found += [(job, build) for build in reader.news(job, cursor.marks.get(job.name))]
                    unlisted.discard(job.full_name)
            except SourceError as error:
                if not found or isinstance(error, (Unauthorized, UnitUnavailable)):
                    raise
                reader.failure = error  # all others would meet it, too
                break
            if reader.failure is not failed_before:
                unlisted.add(job.full_name)
                if reader.failed_enough:
                    break
        return found

    def _read(self, reader: Reader, cursor: Cursor, builds: list[tuple[Job, Build]]) -> SourceError | None:
        """Read *builds* and move the cursor; returns what went wrong. What failed is tried again later."""
        failure, failures = None, 0
        for job, build in builds:
            try:
                if reader.matters(job, build):
                    reader.read(job, build)
            except Unauthorized:
                raise
            except SourceError as error:
                failure, failures = error, failures + 1
                if error.retry_after is not None or failures > _MOST_FAILURES:
                    return failure
                cursor.unread.setdefault(job.name, set()).add(build.number)
            else:
                cursor.unread.get(job.name, set()).discard(build.number)
            cursor.marks[job.name] = Mark(build.number, build.timestamp)
        return failure

    def _reread(self, reader: Reader, cursor: Cursor) -> SourceError | None:
        """Read again what was not over, or could not be read; returns what went wrong."""
        failure = None
        try:
            for job, build in reader.reread(cursor):
                try:
                    reader.read(job, build)
                    cursor.unread.get(job.name, set()).discard(build.number)
                except Unauthorized:
                    raise
                except SourceError as error:
                    if error.retry_after is not None:
                        raise
                    failure = error
        except Unauthorized:
            raise
        except SourceError as error:
            failure = error
        return failure

    def _reader(self, seen: Seen, known: Known, since: datetime) -> Reader:
        return Reader(
            seen,
            known,
            client=self._client,
            config=self.config,
            context=self.context,
            memory=self._memory,
            since=since,
        )

    # -- history -------------------------------------------------------------------------------

    def backfill(self, unit: Unit, start: datetime, end: datetime, known: Known) -> Iterator[Batch]:
        """Batches that together hold every build that is still there and ended in [*start*, *end*).

        Raises:
            SourceError: some could not be read; by then all others were, unless nothing worked any more.
        """
        seen = self._sweeper.of(unit)
        failed: list[SourceError] = []
        for job in seen.jobs.values():
            if job.last is None or (not job.last.running and job.last.finished_at < start):
                continue
            for page in self._reader(seen, known, start).pages(job, start):
                reader = self._reader(seen, known, start)
                for build in page:
                    if not build.running and start <= build.finished_at < end:
                        self._take(reader, job, build, failed)
                    if len(reader.runs) >= _BUILDS_PER_BATCH:
                        yield Batch(runs=tuple(reader.runs.values()), jobs=tuple(reader.jobs))
                        reader = self._reader(seen, known, start)
                if reader.runs:
                    yield Batch(runs=tuple(reader.runs.values()), jobs=tuple(reader.jobs))
        if failed:
            raise SourceError(f"{len(failed)} builds could not be read: {failed[0]}") from failed[0]

    def _take(self, reader: Reader, job: Job, build: Build, failed: list[SourceError]) -> None:
        """Read one build; note what went wrong, unless that concerns all of them."""
        try:
            reader.read(job, build)
        except SourceError as error:
            if isinstance(error, Unauthorized) or error.retry_after or len(failed) >= _MOST_FAILURES:
                raise
            failed.append(error)

    # -- hooks ---------------------------------------------------------------------------------

    def accepts_hooks(self) -> bool:
        """Whether there is a secret."""
        return bool(self.config.hooks.key)

    def hook_is_authentic(self, hook: Hook) -> bool:
        """Whether it carries the secret."""
        return hooks.is_authentic(hook, self.config.hooks.key)

    def hook_id(self, hook: Hook) -> str:
        """One of its own: a job may say the same of each of its builds, and one look more harms nobody."""
        return secrets.token_hex(16)

    def read_hook(self, hook: Hook) -> list[HookNews]:
        """That something happened in a job: its unit is looked at alone, whatever the last sweep says."""
        key = hooks.unit_key(hooks.job_of(body_object(hook)), self._sweeper.units)
        unit = self._sweeper.units.get(key)
        if unit is not None:
            self._sweeper.ask_alone(key)
        return [HookNews(unit or Unit(key, key))]
