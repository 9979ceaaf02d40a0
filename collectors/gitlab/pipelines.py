"""The collector of GitLab pipelines and jobs: per project it asks what changed, and reads only that."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar

from collectors._api import ApiCollector
from collectors._ci import CiCollector
from collectors._failures import concerns_all, leaving_out, putting_off, raise_for
from collectors.gitlab import demos
from collectors.gitlab.client import GitLabClient
from collectors.gitlab.discovery import Discoverer
from collectors.gitlab.hooks import HookReader, hook_id, is_authentic, is_configured
from collectors.gitlab.reader import OVERLAP, Memory, Reader
from collectors.gitlab.settings import GitLabConfig
from collectors.gitlab.values import parse_instant
from exporter.contract import Batch, Context, Discovery, Known, Position, Unit
from exporter.errors import SourceError
from exporter.hooks import Hook, HookNews
from exporter.model.runs import RefKind

log = logging.getLogger(__name__)

_DETAILS_PER_POLL = 5


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
            times = {name: parse_instant(value) for name, value in fields.items()}
            return cls(**times, unread=unread)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            log.warning("a stored cursor could not be read; reading the project anew")
            return cls()

    def __str__(self) -> str:
        times = {"updated_at": self.updated_at, "refs_read_at": self.refs_read_at}
        fields: dict[str, Any] = {name: value.isoformat() for name, value in times.items() if value}
        return json.dumps(fields | ({"unread": self.unread} if self.unread else {}))


class GitLab(ApiCollector[GitLabConfig, GitLabClient], CiCollector[GitLabConfig]):
    """GitLab pipelines and jobs.

    A steady round costs one call per project and at most three per changed pipeline: the pipeline,
    its jobs, and the bridges that lead to its children.
    """

    name = "gitlab"
    provider: ClassVar[str] = "gitlab"
    config_model = GitLabConfig
    hook_name: ClassVar[str] = "gitlab"
    adopts: ClassVar[bool] = False
    start_demo = staticmethod(demos.pipelines_source)

    def __init__(self, config: GitLabConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = GitLabClient(config, context)
        self._memory = Memory()
        self._hooks = HookReader(config, self._memory, context.api.unknown_value)

    def discover(self) -> Discovery:
        """Every project to watch."""
        return Discoverer(self._client, self.config).run()

    # -- hooks ---------------------------------------------------------------------------------

    def accepts_hooks(self) -> bool:
        """Whether a secret token or a signing token is configured."""
        return is_configured(self.config.hooks)

    def hook_is_authentic(self, hook: Hook) -> bool:
        """Whether *hook* proves that it is GitLab's."""
        return is_authentic(hook, self.config.hooks)

    def hook_id(self, hook: Hook) -> str:
        """GitLab's Idempotency-Key."""
        return hook_id(hook)

    def read_hook(self, hook: Hook) -> Iterable[HookNews]:
        """Pipelines and jobs as the payload has them, or the project to be polled."""
        return self._hooks.read(hook)

    # -- polls ---------------------------------------------------------------------------------

    def poll(self, unit: Unit, position: Position) -> Batch:
        """What changed in one project since the cursor, a bounded number of pipelines at a time.

        Only once nothing more is waiting, the slower matters follow: unfinished pipelines that the list
        does not show, the refs that exist, and details of those so far known from a list alone.

        What was read before something failed is saved all the same: of a source that fails now and then,
        a poll of many calls would otherwise never bring anything home.
        """
        cursor = Cursor.parse(position.cursor)
        reader = self._reader(unit, position.known, frozenset(cursor.unread))
        after = self._after(cursor, position)
        changed, updated_at, more = reader.changed(after, None)
        read_up_to = None
        refs: dict[RefKind, frozenset[str]] = {}
        try:
            for entry in changed:
                reader.read_run(entry.run_id)
                read_up_to = entry.updated_at
            read_up_to = updated_at
        except SourceError as error:
            if concerns_all(error) or not reader.runs:
                raise
            more = True
        else:
            if not more:
                cursor, refs = self._slower_matters(reader, cursor, position)
        cursor = replace(
            cursor,
            updated_at=max(filter(None, (read_up_to, cursor.updated_at)), default=after),
            unread=tuple(sorted(reader.unread)),
        )
        return self._batch(reader, cursor, more=more, refs=refs)

    def _after(self, cursor: Cursor, position: Position) -> datetime:
        """From when on to ask for changes; a cursor that ran ahead (by GitLab's clock) is held back."""
        if cursor.updated_at is None:
            return position.counts_from
        return min(cursor.updated_at, self.context.clock.now()) - OVERLAP

    def _slower_matters(
        self, reader: Reader, cursor: Cursor, position: Position
    ) -> tuple[Cursor, dict[RefKind, frozenset[str]]]:
        """What need not happen at once; returns the cursor, and the refs that exist if they were read.

        A failure in here is told, and left to the next poll: what changed was read already.
        """
        refs: dict[RefKind, frozenset[str]] = {}
        now = self.context.clock.now()
        read_at = cursor.refs_read_at
        with putting_off(reader):
            reader.read_unread()
            reader.reread_unfinished()
            if read_at is None or not 0 <= (now - read_at).total_seconds() < self.schedule.discover:
                refs = reader.read_refs()
                if read_at is not None:
                    reader.read_changed_children(read_at - OVERLAP)
                cursor = replace(cursor, refs_read_at=now)
            for run in position.known.incomplete(_DETAILS_PER_POLL):
                if run.run_id not in reader.runs or not reader.runs[run.run_id].complete:
                    # One that is not finished yet may be by now, and then its jobs are asked for only here.
                    reader.read_run(run.run_id, alone=run.status.finished)
        return cursor, refs

    def backfill(self, unit: Unit, start: datetime, end: datetime, known: Known) -> Iterator[Batch]:
        """Batches that together hold every pipeline updated in [*start*, *end*).

        Raises:
            SourceError: some could not be read; by then all others were, unless nothing worked any more.
        """
        after, more = start, True
        failed: dict[int, SourceError] = {}
        while more:
            reader = self._reader(unit, known, frozenset(failed))
            changed, updated_at, more = reader.changed(after, end)
            for entry in changed:
                with leaving_out(entry.run_id, failed):
                    reader.read_run(entry.run_id)
            yield self._batch(reader, None, more=more)
            after = updated_at or end
        raise_for(failed, "pipelines")

    def _reader(self, unit: Unit, known: Known, unread: frozenset[int] = frozenset()) -> Reader:
        return Reader(
            unit,
            known,
            client=self._client,
            config=self.config,
            context=self.context,
            schedule=self.schedule,
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
            runs=(*reader.past, *reader.runs.values()),
            jobs=tuple(reader.jobs),
            deleted_runs=tuple(reader.deleted),
            refs=refs or {},
            refs_read_at=cursor.refs_read_at if cursor and refs else None,
            more=more,
            busy=reader.busy(),
            trouble=reader.trouble,
        )
