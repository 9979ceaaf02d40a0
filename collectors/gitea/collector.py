"""The collector of Gitea Actions: it looks where something happened, and reads only that."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from collectors._api import ApiCollector
from collectors._ci import CiCollector
from collectors._failures import concerns_all, leaving_out, putting_off, raise_for
from collectors._http import NotThere
from collectors._values import parse_instant
from collectors.gitea import demos, hooks
from collectors.gitea.client import GiteaClient, repository_scope, unavailable
from collectors.gitea.discovery import Discoverer
from collectors.gitea.news import News, Signal, of_run
from collectors.gitea.overview import Overview
from collectors.gitea.reader import Look, Memory, Reader
from collectors.gitea.settings import GiteaConfig
from exporter.contract import Batch, Context, Discovery, Known, Position, Unit
from exporter.errors import SourceError
from exporter.hooks import Hook, HookNews
from exporter.model.runs import RefKind

log = logging.getLogger(__name__)

_READ_PER_BATCH = 50  # runs read in full before they are saved: bounds memory, and loss at a kill
_DETAILS_PER_POLL = 5
_UNREAD_PER_POLL = 5
_LONG_UNFINISHED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the polling of one repository stands, as saved with each batch.

    ``seen`` is the id up to which the list of ``kind`` was looked at, and all that was new is saved.
    ``looked_at`` is when refs and the runs that go on were last read. ``unread`` are runs of which Gitea
    said nothing usable: they are tried again later, so that they neither hold up the others nor get lost.
    ``left`` is how many runs of the last look are still to be read.
    """

    seen: int = 0
    kind: str = ""
    looked_at: datetime | None = None
    unread: tuple[int, ...] = ()
    left: int = 0

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """The cursor in *text*; the beginning for one that cannot be read."""
        try:
            fields = json.loads(text or "{}")
            looked_at = fields.get("looked_at")
            return cls(
                int(fields.get("seen", 0)),
                str(fields.get("kind", "")),
                parse_instant(looked_at) if looked_at else None,
                tuple(int(run_id) for run_id in fields.get("unread", ())),
            )
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            log.warning("a stored cursor could not be read; reading the repository anew")
            return cls()

    def __str__(self) -> str:
        fields: dict[str, Any] = {"seen": self.seen, "kind": self.kind}
        if self.looked_at:
            fields["looked_at"] = self.looked_at.isoformat()
        fields |= {name: value for name in ("unread", "left") if (value := getattr(self, name))}
        return json.dumps(fields)


class Gitea(ApiCollector[GiteaConfig, GiteaClient], CiCollector[GiteaConfig]):
    """Runs and jobs of Gitea Actions.

    A round costs one call for an instance or organisation in which nothing happened, one per repository
    where there is no such list, and two per changed run: the run, and its jobs.
    """

    name = "gitea"
    provider: ClassVar[str] = "gitea"
    unit_noun = "repositories"
    config_model = GiteaConfig
    hook_name: ClassVar[str] = "gitea"
    adopts: ClassVar[bool] = False
    start_demo = staticmethod(demos.runs_source)

    def __init__(self, config: GiteaConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = GiteaClient(config, context, self.name)
        self._news = News(self._client)
        self._memory = Memory()
        self._overviews: dict[str, Overview] = {}

    def discover(self) -> Discovery:
        """Every repository to watch."""
        self._client.recognise()
        found = Discoverer(self._client, self.config).run()
        overviews = dict(self._overviews)
        for scope, units in found.scopes.items():
            overviews.setdefault(scope, self._overview(scope)).watch(units)
        self._overviews = overviews
        return found.discovery

    def _overview(self, scope: str) -> Overview:
        every = self.config.poll_interval_seconds
        return Overview(scope, self._news, self.context.clock, every, self.context.wake)

    # -- hooks -----------------------------------------------------------------------------------

    def accepts_hooks(self) -> bool:
        """Whether there is a secret that they are signed with."""
        return bool(self.config.hooks.key)

    def hook_is_authentic(self, hook: Hook) -> bool:
        """Whether *hook* is signed with that secret."""
        return hooks.is_authentic(hook, self.config.hooks.key)

    def hook_id(self, hook: Hook) -> str:
        """The id of the delivery."""
        return hooks.delivery(hook)

    def read_hook(self, hook: Hook) -> Iterable[HookNews]:
        """That there is news of a repository, which is polled at once: Gitea's words do not suffice."""
        unit = hooks.changed_repository(hook)
        if unit is None:
            return []
        for overview in self._overviews.values():
            overview.forget(unit)
        return [HookNews(unit)]

    # -- polls -----------------------------------------------------------------------------------

    def poll(self, unit: Unit, position: Position) -> Batch:
        """What is new in one repository; nothing is asked if the look at its scope says that nothing is."""
        cursor = Cursor.parse(position.cursor)
        overview = next((one for one in self._overviews.values() if one.has(unit)), None)
        if overview is None:
            return self._read(unit, cursor, position)
        saved = self._memory.told.get(unit.key) == position.cursor
        if overview.quiet(unit) and saved and not self._has_more_to_do(cursor, position.known):
            return Batch()
        overview.begin(unit)
        try:
            batch = self._read(unit, cursor, position)
        except BaseException:
            overview.forget(unit)
            raise
        if batch.more:
            overview.forget(unit)
        self._memory.told[unit.key] = batch.cursor
        return batch

    def _has_more_to_do(self, cursor: Cursor, known: Known) -> bool:
        """Whether something is to be asked though nothing is new."""
        pending = cursor.left or cursor.unread or known.unfinished() or known.incomplete(1)
        return bool(pending) or self._due(cursor)

    def _due(self, cursor: Cursor) -> bool:
        """Whether the slower matters are."""
        if cursor.looked_at is None:
            return True
        passed = (self.context.clock.now() - cursor.looked_at).total_seconds()
        return not 0 <= passed < self.schedule.discover

    def _read(self, unit: Unit, cursor: Cursor, position: Position) -> Batch:
        reader = self._reader(unit, position.known, cursor.unread)
        look = self._look(reader, cursor, position)
        left = look.runs[_READ_PER_BATCH:]
        try:
            for run_id in look.runs[:_READ_PER_BATCH]:
                reader.read(run_id)
        except SourceError as error:
            if concerns_all(error) or not reader.runs:
                raise
            left = look.runs  # what was read is known by then
        refs: dict[RefKind, frozenset[str]] = {}
        if not left:
            cursor = replace(cursor, seen=look.newest, kind=self._news.kind)
            cursor, refs = self._slower_matters(reader, cursor, position)
        cursor = replace(cursor, unread=tuple(sorted(reader.unread)), left=len(left))
        if left is not look.runs and left:
            self._memory.left[unit.key] = (str(cursor), Look(left, look.newest))
        return self._batch(reader, cursor, more=bool(left), refs=refs)

    def _look(self, reader: Reader, cursor: Cursor, position: Position) -> Look:
        """What is to be read: the rest of the last look if what came before is saved, or of a new one."""
        saved, rest = self._memory.left.pop(reader.unit.key, ("", None))
        if rest is not None and saved == position.cursor:
            return rest
        same = cursor.kind == self._news.kind or not self._news.decided
        seen = cursor.seen if same else 0
        try:
            look = reader.look(seen, position.counts_from)
            if seen and cursor.kind != self._news.kind:  # only the list itself told of what it is
                look = reader.look(0, position.counts_from)
            return look
        except NotThere as error:
            raise unavailable(error) from error

    def _slower_matters(
        self, reader: Reader, cursor: Cursor, position: Position
    ) -> tuple[Cursor, dict[RefKind, frozenset[str]]]:
        """What need not happen at once; returns the cursor, and the refs that exist if they were read.

        A failure in here is told, and left to the next poll: what changed was read already.
        """
        refs: dict[RefKind, frozenset[str]] = {}
        with putting_off(reader):
            for run_id in reader.unread_first()[:_UNREAD_PER_POLL]:
                reader.read(run_id)
            if self._due(cursor):
                refs = reader.look_deeper(position.counts_from, first=cursor.looked_at is None)
                cursor = replace(cursor, looked_at=self.context.clock.now())
            for run in position.known.incomplete(_DETAILS_PER_POLL):
                reader.read_once(run.run_id)
            return cursor, refs
        return cursor, {}

    def backfill(self, unit: Unit, start: datetime, end: datetime, known: Known) -> Iterator[Batch]:
        """Batches that together hold every run that is new and changed in [*start*, *end*).

        Raises:
            SourceError: some could not be read; by then all others were, unless nothing worked any more.
        """
        failed: dict[int, SourceError] = {}
        for page in self._client.newest_runs(repository_scope(unit.name)):
            reader = self._reader(unit, known, ())
            signals = [of_run(run) for run in page]
            stored = known.updated_at({signal.run_id for signal in signals})
            for run_id in sorted(_missing(signals, stored, start, end)):
                with leaving_out(run_id, failed):
                    reader.read(run_id)
            yield self._batch(reader, None)
            if all(signal.changed_at is not None and signal.changed_at < start for signal in signals):
                break
        raise_for(failed, "runs")

    def _reader(self, unit: Unit, known: Known, unread: tuple[int, ...]) -> Reader:
        return Reader(
            unit,
            known,
            client=self._client,
            config=self.config,
            clock=self.context.clock,
            news=self._news,
            memory=self._memory,
            unread=unread,
        )

    def _batch(
        self,
        reader: Reader,
        cursor: Cursor | None,
        *,
        more: bool = False,
        refs: dict[RefKind, frozenset[str]] | None = None,
    ) -> Batch:
        """What was read, as one batch."""
        return Batch(
            cursor=str(cursor) if cursor else None,
            runs=tuple(reader.runs),
            jobs=tuple(reader.jobs),
            deleted_runs=tuple(reader.deleted),
            refs=refs or {},
            refs_read_at=cursor.looked_at if cursor and refs else None,
            more=more,
            busy=self._busy(reader),
            trouble=reader.trouble,
        )

    def _busy(self, reader: Reader) -> bool:
        """Whether a run is under way, so that its end is to be expected soon."""
        oldest = self.context.clock.now() - _LONG_UNFINISHED
        runs = reader.unfinished | {run.run_id: run for run in reader.runs}
        return any(
            not run.status.finished and run.created_at > oldest and run.run_id not in reader.deleted
            for run in runs.values()
        )


def _missing(
    signals: Iterable[Signal], stored: Mapping[int, datetime], start: datetime, end: datetime
) -> set[int]:
    """The runs that changed in [*start*, *end*) and are not *stored* as of then."""
    return {
        signal.run_id
        for signal in signals
        if signal.changed_at is not None
        and start <= signal.changed_at < end
        and (signal.run_id not in stored or stored[signal.run_id] < signal.changed_at)
    }
