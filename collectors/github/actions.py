"""The collector of GitHub Actions: per repository one question, free of charge as long as nothing changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

from collectors._api import ApiCollector
from collectors._ci import CiCollector
from collectors._failures import leaving_out, putting_off, raise_for
from collectors.github import demos
from collectors.github.client import GitHubClient
from collectors.github.cursor import Cursor
from collectors.github.discovery import Discoverer
from collectors.github.hooks import HookReader
from collectors.github.lookback import REACH, LookBack, slices
from collectors.github.mapping import Entry
from collectors.github.memory import Memory
from collectors.github.reader import Reader
from collectors.github.refs import RefReader
from collectors.github.settings import GitHubConfig
from exporter.clock import EPOCH
from exporter.contract import Batch, Context, Discovery, Known, Position, Unit
from exporter.errors import SourceError, Unauthorized, UnitUnavailable
from exporter.hooks import Hook, HookNews
from exporter.model.runs import PipelineRun, RefKind

_CHANGED_PER_BATCH = 100  # runs read in full before they are saved: bounds memory, and loss at a kill
_DETAILS_PER_POLL = 5
_REREADS_PER_POLL = 20
_LONG_UNFINISHED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far one poll got; ``more`` if news is left."""

    cursor: Cursor
    more: bool = False


class GitHubActions(ApiCollector[GitHubConfig, GitHubClient], CiCollector[GitHubConfig]):
    """Runs and jobs of GitHub Actions.

    A repository without news costs one conditional call, which GitHub does not charge. A changed run costs
    one more for its jobs, and one for each attempt that passed unseen.
    """

    name = "github_actions"
    provider: ClassVar[str] = "github"
    config_model = GitHubConfig
    unit_noun = "repositories"
    hook_name: ClassVar[str] = "github"
    adopts: ClassVar[bool] = False
    start_demo = staticmethod(demos.runs_source)

    def __init__(self, config: GitHubConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = GitHubClient(config, context, self.name)
        self._memory = Memory()
        self._hooks = HookReader(config, context.api.unknown_value, self._memory)
        wanted = json.dumps(config.refs.model_dump(mode="json"), sort_keys=True)
        self._selection = hashlib.sha256(wanted.encode()).hexdigest()[:8]

    @property
    def target(self) -> str:
        """The instance; by the name of the source, under which its history began."""
        return f"{self.provider}:{self.config.history_name}"

    def discover(self) -> Discovery:
        """Every repository to watch."""
        return Discoverer(self._client, self.config).run()

    # -- webhooks ----------------------------------------------------------------------------------

    def accepts_hooks(self) -> bool:
        """Whether there is a secret to sign with."""
        return bool(self.config.hooks.key)

    def hook_is_authentic(self, hook: Hook) -> bool:
        """Whether the body is signed with our secret."""
        return self._hooks.is_authentic(hook)

    def hook_id(self, hook: Hook) -> str:
        """The delivery, the same when it is sent again."""
        return hook.headers.get("x-github-delivery", "")

    def read_hook(self, hook: Hook) -> Iterable[HookNews]:
        """What a hook says of a run or a job."""
        return self._hooks.read(hook)

    # -- polls -------------------------------------------------------------------------------------

    def poll(self, unit: Unit, position: Position) -> Batch:
        """What changed in one repository, a bounded number of runs at a time.

        What was read before something failed is saved all the same: a source that fails now and then, or
        gives out so many calls an hour, would otherwise never bring anything home.
        """
        cursor = Cursor.parse(position.cursor)
        if cursor.selection != self._selection:
            cursor = replace(cursor, etag="", selection=self._selection)
        reader = self._reader(unit, position.known, position.counts_from, cursor)
        told = self._memory.take_told(unit.key)
        refs: dict[RefKind, frozenset[str]] = {}
        failure: SourceError | None = None
        progress = _Progress(cursor, more=True)
        try:
            for run_id in told:
                reader.read_run(run_id)
            progress = self._newest(reader, cursor, position.counts_from)
            if not progress.more:
                progress, refs = self._slower_matters(reader, progress.cursor, position.known)
        except SourceError as error:
            for run_id in told:
                self._memory.tell(unit.key, run_id)
            if isinstance(error, (Unauthorized, UnitUnavailable)) or not reader.runs:
                raise
            failure = error
        return self._batch(reader, progress, refs=refs, failure=failure)

    def _newest(self, reader: Reader, cursor: Cursor, counts_from: datetime) -> _Progress:
        """Read what is new on the newest page, and before it what came since the last look and is not on it.

        The ETag moves on only when all of the page was read.
        """
        listed = self._client.newest_runs(reader.path, cursor.etag)
        if listed is None:
            return _Progress(cursor)
        entries = reader.entries(listed.entries)
        oldest = entries[0].created_at if entries and listed.more else None
        floor = cursor.newest or counts_from
        if oldest is not None and oldest >= floor:
            return self._gap(reader, cursor, floor, oldest)
        first = not cursor.newest or not cursor.etag
        if not self._read_some(reader, reader.news(entries)):
            return _Progress(cursor, more=True)
        self._read_missing(reader, entries, oldest)
        if first:
            reader.list_newest(entries)
        newest = max([entry.created_at for entry in entries], default=floor)
        cursor = replace(cursor, etag=listed.etag, oldest=oldest, newest=max(newest, floor))
        return _Progress(cursor)

    def _gap(self, reader: Reader, cursor: Cursor, start: datetime, end: datetime) -> _Progress:
        """Read the first part of what was created from *start* to *end*."""
        part = next(slices(self._client, reader.path, start, end))
        if self._read_some(reader, reader.news(reader.entries(part.listed.entries))):
            cursor = replace(cursor, newest=part.end + timedelta(seconds=1))
        return _Progress(cursor, more=True)

    def _read_some(self, reader: Reader, news: list[Entry]) -> bool:
        """Read *news*, the oldest first; false if there are more than a batch may hold."""
        reader.learn_refs(news[:_CHANGED_PER_BATCH])
        for entry in news[:_CHANGED_PER_BATCH]:
            reader.read(entry)
        return len(news) <= _CHANGED_PER_BATCH

    def _read_missing(self, reader: Reader, entries: list[Entry], oldest: datetime | None) -> None:
        """Look for unfinished runs that should be on the newest page and are not: they were deleted."""
        shown = {entry.run_id for entry in entries}
        for run in reader.unfinished.values():
            if run.run_id not in shown and (oldest is None or run.created_at > oldest):
                reader.read_run(run.run_id)

    # -- slower matters ------------------------------------------------------------------------------

    def _slower_matters(
        self, reader: Reader, cursor: Cursor, known: Known
    ) -> tuple[_Progress, dict[RefKind, frozenset[str]]]:
        """What need not happen at once; returns the refs that exist, if they were read.

        A failure in here is told, and left to the next poll: what changed was read already.
        """
        refs: dict[RefKind, frozenset[str]] = {}
        now = self.context.clock.now()
        with putting_off(reader):
            reader.read_unread()
            self._reread_unfinished(reader, cursor)
            reader.read_running_jobs()
            for run in known.incomplete(_DETAILS_PER_POLL):
                if run.run_id not in reader.runs or not reader.runs[run.run_id].complete:
                    reader.read_run(run.run_id)
            cursor = LookBack(self._client, reader, self._memory, self.schedule, now).run(cursor)
            read_at = cursor.refs_read_at
            if read_at is None or not 0 <= (now - read_at).total_seconds() < self.schedule.discover:
                refs = RefReader(self._client, self.config.refs, self._memory).read(reader)
                cursor = replace(cursor, refs_read_at=now)
        return _Progress(cursor), refs

    def _reread_unfinished(self, reader: Reader, cursor: Cursor) -> None:
        """Look again at unfinished runs that are too old for the newest page, the longest unread first."""
        now = self.context.clock.now()
        before = self._memory.read_at.get(reader.unit.key, {})
        read_at = {run_id: at for run_id, at in before.items() if run_id in reader.unfinished}
        self._memory.read_at[reader.unit.key] = read_at
        due = []
        for run in reader.unfinished.values():
            on_page = cursor.oldest is None or run.created_at > cursor.oldest
            last = read_at.setdefault(run.run_id, now if on_page else EPOCH)
            wait = self._reread_wait(run, now, on_page=on_page)
            if run.run_id not in reader.runs and (now - last).total_seconds() >= wait:
                due.append((last, run.run_id))
        for _, run_id in sorted(due)[:_REREADS_PER_POLL]:
            reader.read_run(run_id)

    def _reread_wait(self, run: PipelineRun, now: datetime, *, on_page: bool) -> float:
        """Seconds between two looks at an unfinished run: a quarter of its age, within bounds.

        Of runs on the newest page every change is told; a look is for those that GitHub forgot to tell of.
        """
        age = now - max(run.created_at, run.updated_at)
        quarter = age.total_seconds() / 4
        if age > _LONG_UNFINISHED:
            return quarter
        if on_page:
            return max(quarter, self.schedule.discover)
        return max(self.schedule.base, min(quarter, self.schedule.maximum))

    # -- history -----------------------------------------------------------------------------------

    def backfill(self, unit: Unit, start: datetime, end: datetime, known: Known) -> Iterator[Batch]:
        """Batches that together hold every run updated in [*start*, *end*).

        Runs can be run again for a month, so those that were created a month earlier are looked at, too.

        Raises:
            SourceError: some could not be read; by then all others were, unless nothing worked any more.
        """
        failed: dict[int, SourceError] = {}
        reader = self._reader(unit, known, start, Cursor())
        for part in slices(self._client, reader.path, start - REACH, end):
            wanted = [one for one in reader.entries(part.listed.entries) if one.updated_at < end]
            news = reader.news(wanted)
            failed |= {run_id: SourceError("it cannot be understood") for run_id in reader.unread}
            while news:
                reader = self._reader(unit, known, start, Cursor())
                reader.learn_refs(news[:_CHANGED_PER_BATCH])
                for entry in news[:_CHANGED_PER_BATCH]:
                    with leaving_out(entry.run_id, failed):
                        reader.read(entry)
                failed |= {run_id: SourceError("it was put off before") for run_id in reader.unread}
                news = news[_CHANGED_PER_BATCH:]
                yield self._batch(reader, None)
        raise_for(failed, "runs")

    # -- what these share ----------------------------------------------------------------------------

    def _reader(self, unit: Unit, known: Known, counts_from: datetime, cursor: Cursor) -> Reader:
        return Reader(
            unit,
            known,
            counts_from,
            client=self._client,
            config=self.config,
            context=self.context,
            memory=self._memory,
            attempts=cursor.attempts,
            unread=cursor.unread,
        )

    def _batch(
        self,
        reader: Reader,
        progress: _Progress | None,
        *,
        refs: dict[RefKind, frozenset[str]] | None = None,
        failure: SourceError | None = None,
    ) -> Batch:
        """What was read, as one batch."""
        cursor = None
        if progress:
            unread = tuple(sorted(reader.unread))
            cursor = replace(progress.cursor, attempts=reader.attempts, unread=unread)
        return Batch(
            cursor=str(cursor) if cursor else None,
            runs=(*reader.past, *reader.runs.values()),
            jobs=tuple(reader.jobs),
            deleted_runs=tuple(reader.deleted),
            refs=refs or {},
            refs_read_at=cursor.refs_read_at if cursor and refs else None,
            more=progress is None or progress.more,
            busy=reader.busy(),
            unit=replace(reader.unit, name=reader.renamed) if reader.renamed else None,
            trouble=reader.trouble,
            failure=failure,
        )
