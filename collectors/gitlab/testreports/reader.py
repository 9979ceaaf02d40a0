"""One poll of one project: which pipelines finished, and what their reports say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from collectors import _testing
from collectors._failures import concerns_all
from collectors._testing import Case, Newest, RefKey, Report
from collectors.gitlab import mapping as pipelines
from collectors.gitlab.reader import OVERLAP
from collectors.gitlab.testreports import mapping
from collectors.gitlab.testreports.client import ReportsClient
from collectors.gitlab.testreports.cursor import State, Waiting
from collectors.gitlab.testreports.settings import ReportsConfig
from exporter.clock import EPOCH, Clock
from exporter.contract import Observation, Trouble, Unit, UnitTrouble
from exporter.errors import SourceError, UnitUnavailable
from exporter.model.runs import PipelineRun, RefKind, Status

log = logging.getLogger(__name__)

_REPORTS_PER_POLL = 50  # bounds memory, and what a kill has to read again
_PAGES_PER_POLL = 200
_FAILED_IN_A_ROW = 3  # reports after which the others are not tried
_UNDER_WAY = frozenset(
    word
    for word, status in pipelines.STATUSES.items()
    if status in (Status.CREATED, Status.PENDING, Status.RUNNING)
)
# A skipped pipeline has no job that could have reported anything.
_REPORTING = frozenset(
    word for word, status in pipelines.STATUSES.items() if status.finished and status is not Status.SKIPPED
)


@dataclass(slots=True)
class Reader:
    """Reads the news of *unit* into *state*; what it found to count is in ``observations``.

    ``given_up`` are suites that have no name, and so no totals, of their own any more.
    """

    unit: Unit
    state: State
    provider: str
    client: ReportsClient
    config: ReportsConfig
    clock: Clock
    unknown: Callable[[str], None]
    counts_from: datetime
    observations: list[Observation] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    nameless: str = ""
    changed: bool = False
    more: bool = False
    left: bool = False

    def read(self, refs_every: float) -> None:
        """What changed, every *refs_every* seconds which refs there are, and the reports that are due."""
        state, now = self.state, self.clock.now()
        self._obey()
        last = state.refs_read_at
        refs_due = last is None or not 0 <= (now - last).total_seconds() < refs_every
        news = self._list(None)
        if not self.config.child_pipelines:
            state.children_at = None
        elif news or refs_due or state.running:
            self._list(pipelines.CHILD)
        if refs_due:
            self._read_refs()
            state.refs_read_at = now
        read = self._read_due()
        # As long as all that waits is not due yet, asking again at once would bring nothing.
        self.more = self.more or (self.left and read > 0)
        state.forget(OVERLAP, now)

    @property
    def trouble(self) -> UnitTrouble | None:
        """What the operator should know: a report that cannot be read, or names that may not be."""
        for one in self.state.queue.values():
            if one.tries:
                detail = f"the report of pipeline {one.run_id} is put off: {one.error}"
                return UnitTrouble(self.unit.name, Trouble.BAD_DATA, detail)
        if self.nameless:
            detail = f"failed tests are not named: {self.nameless}"
            return UnitTrouble(self.unit.name, Trouble.FORBIDDEN, detail)
        return None

    # -- lists ---------------------------------------------------------------------------------

    def _list(self, source: str | None) -> bool:
        """Note which pipelines changed, those of *source* alone if it is given; whether any did.

        The list moves while it is read: instead of turning its pages, it is asked for anew from the last
        time seen. Only pipelines of one and the same instant, more than a page of them, are read by page.
        """
        after, page, news = self._after(source), 1, False
        for _ in range(_PAGES_PER_POLL):
            if self.state.full():
                self.left = True
                return news
            entries = self.client.changed_pipelines(self.unit.key, after, page, source=source)
            for entry in entries:
                news |= self._note(entry)
            if len(entries) < self.client.per_page:
                self._reach(source, entries)
                if source and self.state.updated_at:
                    # Up to there no child changed either; what was seen since is all there is to remember.
                    self.state.children_at = max(self.state.updated_at, self.state.children_at or EPOCH)
                return news
            newest = max(entry.updated_at for entry in entries)
            after, page = (newest, 1) if newest > after else (after, page + 1)
            if page == 1:
                self._reach(source, entries)
        raise SourceError(f"the list of changed pipelines does not end after {_PAGES_PER_POLL} pages")

    def _after(self, source: str | None) -> datetime:
        """From when on to ask for changes; a cursor that ran ahead (by GitLab's clock) is held back."""
        reached = self.state.children_at if source else self.state.updated_at
        if reached is None:
            return self.counts_from
        return max(self.counts_from, min(reached, self.clock.now()) - OVERLAP)

    def _reach(self, source: str | None, entries: Iterable[pipelines.ListEntry]) -> None:
        """Move on to the newest of *entries*: all before it are noted."""
        state = self.state
        reached = max((entry.updated_at for entry in entries), default=self._after(source))
        if source:
            state.children_at = max(reached, state.children_at or reached)
        else:
            state.updated_at = max(reached, state.updated_at or reached)

    def _note(self, entry: pipelines.ListEntry) -> bool:
        """Note one change; false if it was noted before."""
        state = self.state
        if state.seen.get(entry.run_id) == entry.updated_at:
            return False
        state.seen[entry.run_id] = entry.updated_at
        state.queue.pop(entry.run_id, None)
        state.running.pop(entry.run_id, None)
        if entry.status in _UNDER_WAY:
            state.running[entry.run_id] = entry.updated_at
        elif entry.status in _REPORTING:
            self._await(entry, counts=entry.updated_at >= self.counts_from)
        return True

    def _await(self, entry: pipelines.ListEntry, *, counts: bool, kind: RefKind | None = None) -> None:
        """Have the report read once GitLab has surely made it; its clock need not be ours."""
        now, settle = self.clock.now(), timedelta(seconds=self.config.settle_seconds)
        rest = min(settle, max(timedelta(), entry.updated_at + settle - now))
        watched_from = self.counts_from + timedelta(days=self.config.backfill_days)
        self.state.queue[entry.run_id] = Waiting.of(entry, now + rest, watched_from, counts=counts, kind=kind)

    def _obey(self) -> None:
        """Forget what is shown and is not wanted any more: the configuration may have changed."""
        newest, selects = self.state.newest, self.config.refs.selects
        for key, one in list(newest.items()):
            is_child = key.source == pipelines.CHILD and not self.config.child_pipelines
            if is_child or not selects(RefKind(key.kind), key.ref):
                del newest[key]
                self.changed = True
            elif one.history and not self.config.cases.wanted_of(self.unit.name):
                newest[key] = replace(one, history={})
                self.changed = True

    # -- refs ----------------------------------------------------------------------------------

    def _read_refs(self) -> None:
        """Forget reports of refs that are gone; have the newest pipeline of others looked at."""
        existing: dict[RefKind, set[str]] = {}
        newest: list[tuple[RefKind, pipelines.ListEntry]] = []
        for kind, scope in ((RefKind.BRANCH, "branches"), (RefKind.TAG, "tags")):
            selection = self.config.refs.of(kind)
            entries = self.client.newest_pipelines(self.unit.key, scope) if selection.enabled else []
            entries = [entry for entry in entries if selection.selects(entry.ref)]
            existing[kind] = {entry.ref for entry in entries}
            newest += ((kind, entry) for entry in entries)
        if any(key.kind == RefKind.CHANGE_REQUEST for key in self.state.newest):
            open_ = self.client.open_change_requests(self.unit.key)
            if open_ is not None:
                refs = (ref for entry in open_ for ref in pipelines.open_change_request_refs(entry))
                existing[RefKind.CHANGE_REQUEST] = set(refs)
        self._keep(existing)
        newest.sort(key=lambda pair: pair[1].run_id, reverse=True)
        for kind, entry in newest[: self.config.refs.max_refs]:
            self._look_at(entry, kind)

    def _keep(self, existing: dict[RefKind, set[str]]) -> None:
        """Forget what is known of other refs than the *existing* ones, of the kinds that were read."""
        state = self.state
        gone = [key for key in state.newest if key.ref not in existing.get(RefKind(key.kind), {key.ref})]
        for key in gone:
            del state.newest[key]
            self.changed = True
        names = set().union(*existing.values(), (key.ref for key in state.newest))
        state.looked = {ref: number for ref, number in state.looked.items() if ref in names}

    def _look_at(self, entry: pipelines.ListEntry, kind: RefKind) -> None:
        """Have the newest pipeline of a ref read and shown, unless it was.

        It is not counted: what ended since somebody watches is so when the list of changes brings it.
        """
        unread = entry.run_id > self.state.looked.get(entry.ref, 0) and entry.run_id not in self.state.queue
        if unread and entry.status in _REPORTING:
            self._await(entry, counts=False, kind=kind)

    # -- reports -------------------------------------------------------------------------------

    def _read_due(self) -> int:
        """Read the reports that are due, and return how many; one that cannot be read is put off."""
        now, queue = self.clock.now(), self.state.queue
        due = sorted(
            (one for one in queue.values() if one.is_due(now)), key=lambda one: (one.due, one.run_id)
        )
        self.more |= len(due) > _REPORTS_PER_POLL
        in_a_row = 0
        for one in due[:_REPORTS_PER_POLL]:
            try:
                self._read_one(one)
            except SourceError as error:
                if concerns_all(error):
                    raise
                in_a_row += 1
                self._put_off(one, error)
                if in_a_row >= _FAILED_IN_A_ROW:
                    raise
            else:
                in_a_row = 0
                del queue[one.run_id]
        return min(len(due), _REPORTS_PER_POLL)

    def _put_off(self, one: Waiting, error: SourceError) -> None:
        later = one.put_off(self.clock.now(), str(error))
        if later:
            self.state.queue[one.run_id] = later
        else:
            del self.state.queue[one.run_id]
            self._looked_at(one)
            log.warning("report of tests given up", extra={"project": self.unit.name, "run": one.run_id})

    def _read_one(self, one: Waiting) -> None:
        """Count the report of one pipeline if it has one, and show it if it is the newest of a ref."""
        summary = self.client.summary(self.unit.key, one.run_id)
        report = None if summary is None else mapping.report(summary)
        if report is not None:
            if one.counts and self.clock.now() < one.counts_until:
                self._count(one, report)
            self._show(one, report)
        self._looked_at(one)

    def _looked_at(self, one: Waiting) -> None:
        """Remember not to look at the pipeline again just because it is the newest of its ref."""
        self.state.looked[one.ref] = max(one.run_id, self.state.looked.get(one.ref, 0))

    def _count(self, one: Waiting, report: Report) -> None:
        """Have *report* counted; suites that reports have long come without make room."""
        ended_at = min(one.updated_at, self.clock.now())  # GitLab's clock need not be ours

        def label(suite: str) -> str:
            return self.state.suite_label(suite, ended_at, self.config.max_suites)

        self.observations += _testing.observations(self.provider, report, label, one.counts_until)
        if gone := self.state.give_up_suites():
            # Years of history may be in one poll: what it found of them would outlast their room.
            self.observations = _testing.without(self.observations, self.provider, gone)
            self.given_up += gone

    def _show(self, one: Waiting, report: Report) -> None:
        """Make the report the one that is shown of its ref, unless a newer one is or nobody wants it."""
        if not self._may_be_selected(one):
            return
        detail = self.client.pipeline(self.unit.key, one.run_id)
        if detail is None:
            return
        run = pipelines.run(detail, selects=self.config.refs.selects, unknown=self.unknown)
        key = RefKey(run.ref, run.ref_kind.value, run.source)
        before = self.state.newest.get(key)
        if not run.selected or (before and before.run_id > run.run_id):
            return
        newest = Newest.of(report, run.run_id, run.finished_at or one.updated_at)
        self.state.newest[key] = replace(newest, history=self._history(run, report, before))
        self._make_room(key)
        self.changed = True

    def _may_be_selected(self, one: Waiting) -> bool:
        """Whether the ref can be one to show; a list does not tell a tag from a branch."""
        kind = one.kind or pipelines.ref_kind(one.ref, tag=False)
        selects = self.config.refs.selects
        either = one.kind is None and kind is RefKind.BRANCH and selects(RefKind.TAG, one.ref)
        return selects(kind, one.ref) or either

    def _make_room(self, kept: RefKey) -> None:
        """Drop the oldest reports of refs over the limit."""
        newest = self.state.newest
        oldest_first = sorted(newest, key=lambda key: (key == kept, newest[key].run_id))
        for key in oldest_first[: max(0, len(newest) - self.config.refs.max_refs)]:
            del newest[key]

    # -- single tests --------------------------------------------------------------------------

    def _history(self, run: PipelineRun, report: Report, before: Newest | None) -> dict[Case, str]:
        """How single tests ended in the last reports of the ref; unchanged if nothing ran again."""
        if not self.config.cases.wanted_of(self.unit.name):
            return {}
        known = dict(before.history) if before else {}
        if before and before.key == report.key:
            return known
        failed = self._failed_cases(run.run_id) if report.failures else []
        if failed is None:
            return {}
        ran = [suite.name for suite in report.suites if not suite.broken]
        history = _testing.remembered(known, failed, ran)
        others = sum(len(one.history) for one in self.state.newest.values() if one is not before)
        room = max(0, self.config.cases.max_cases - others)
        return dict(list(history.items())[:room])

    def _failed_cases(self, run_id: int) -> list[Case] | None:
        """The tests that failed; ``None`` if this token may not see them, or nobody can any more."""
        try:
            detail = self.client.cases(self.unit.key, run_id)
        except UnitUnavailable as error:
            detail = None
            self.nameless = str(error)
        return None if detail is None else mapping.failed_cases(detail, unknown=self.unknown)
