"""One poll of one project: the deployments that changed, its environments, and how far they are behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from collectors._failures import concerns_all
from collectors.gitlab import news
from collectors.gitlab.deployments import mapping, state
from collectors.gitlab.deployments.client import DeploymentsClient
from collectors.gitlab.deployments.settings import DeploymentsConfig
from collectors.gitlab.deployments.state import Cursor
from exporter import ci_delivery_families as families
from exporter.contract import Batch, Context, Observation, Position, Trouble, Unit, UnitTrouble
from exporter.errors import BadAnswer, SourceError
from exporter.model.delivery import Behind, Commit, Deployment, Standing, Tier
from exporter.model.runs import Status

_NO_ROOM = "max_environments"
_ASKED_ONE_BY_ONE = 5  # unknown environments; if there are more of them, the whole list costs less
_UNDER_WAY = timedelta(days=1)
_FAILED = "?"  # in front of a pair of commits that could not be compared
_MOST_FAILED = 3  # comparisons of one poll
Tiers = dict[int, Tier]


class DeploymentReader:
    """Reads one project once.

    ``tiers`` are those of its environments by id, remembered between polls. The ``first`` poll of a process
    reads the environments in any case: the configuration may say something new of them.
    """

    def __init__(
        self,
        unit: Unit,
        *,
        client: DeploymentsClient,
        config: DeploymentsConfig,
        context: Context,
        tiers: Tiers,
        first: bool,
    ) -> None:
        self._unit = unit
        self._client = client
        self._config = config
        self._context = context
        self._now = context.clock.now()
        self._tiers = tiers
        self._first = first
        self._found: dict[int, Deployment] = {}
        self._environment_ids: dict[int, int] = {}
        self._unread = news.Unread(unit, "deployment", ())
        self._trouble: UnitTrouble | None = None
        self._failure: SourceError | None = None
        self._listed: list[mapping.Environment] | None = None
        self._is_long = False

    def read(self, cursor: Cursor, position: Position) -> Batch:
        """What is new since *cursor*; bounded, with ``more`` if more is waiting.

        Deployments are saved even if what is around them cannot be read: that is tried again.
        """
        self._unread = news.Unread(self._unit, "deployment", cursor.unread)
        there = sum(one.environments for one in cursor.standings.values())
        self._is_long = there >= self._client.per_page
        updated_at, more = self._read_changes(cursor, position)
        self._failure = self._unread.try_again(self._read_again) or self._failure
        observations = tuple(self._observations(position.counts_from))
        after = replace(cursor, updated_at=updated_at, catching_up=more, unread=self._unread.left)
        if not more:
            try:
                after = self._look_around(after)
            except SourceError as error:
                if news.is_refused(error):
                    raise
                self._failure = self._failure or error
        selection = self._config.environments
        after = replace(
            after, standings=state.with_deployments(after.standings, self._found.values(), selection)
        )
        if not more and self._failure is None:
            after = self._measured(after, cursor)
            self._note_uncompared(after)
        return Batch(
            cursor=str(after),
            observations=observations,
            samples=families.deployment_samples("gitlab", self._unit.name, after.standings),
            quiet=after.standings == cursor.standings,
            busy=self._busy(after.standings.values()),
            more=more and self._failure is None,
            trouble=self._unread.trouble or self._trouble,
            failure=self._failure,
        )

    # -- deployments ---------------------------------------------------------------------------

    def _read_changes(self, cursor: Cursor, position: Position) -> tuple[datetime, bool]:
        """Read pages of changed deployments; up to which time, and whether more are waiting.

        Pages that came before one failed are kept.
        """
        after = news.read_from(
            cursor.updated_at, position.counts_from, self._now, catching_up=cursor.catching_up
        )
        seen, pages, waiting = cursor.updated_at or after, 0, False
        ask = partial(self._client.changed_deployments, self._unit.key)
        try:
            for entries, more in news.pages_of_changes(ask, after, self._client.per_page):
                for entry in entries:
                    self._take(entry)
                    seen = max(seen, news.changed_at(entry))
                pages, waiting = pages + 1, more
                if pages >= news.PAGES_OF_NEWS and seen > after:
                    break
        except SourceError as error:
            if news.is_refused(error) or not pages:
                raise
            self._failure = error
        return seen, waiting

    def _take(self, value: Any) -> None:
        """Take one deployment; what cannot be understood is put off, so that others go on."""
        number = mapping.deployment_id(value)
        try:
            self._add(value)
        except BadAnswer as error:
            self._unread.put_off(number, error)
        else:
            self._unread.discard(number)

    def _read_again(self, number: int) -> None:
        """Take a deployment that was put off; one that is gone by now is forgotten."""
        value = self._client.deployment(self._unit.key, number)
        if value is not None:
            self._add(value)

    def _add(self, value: Any) -> None:
        found = mapping.deployment(value, unknown=self._context.api.unknown_value)
        self._environment_ids[found.deployment_id] = mapping.environment_of(value)[0]
        self._found[found.deployment_id] = found

    def _observations(self, counts_from: datetime) -> Iterator[Observation]:
        """What the deployments that ended add to totals; an end is told by the deployment and its status."""
        ended = [
            one
            for one in self._found.values()
            if one.status in families.DEPLOYED and one.finished_at and one.finished_at >= counts_from
        ]
        self._learn_tiers({self._environment_ids[one.deployment_id] for one in ended})
        for one in ended:
            tier = self._tiers.get(self._environment_ids[one.deployment_id], Tier.UNKNOWN).value
            key = f"{one.deployment_id} {one.status.value}"
            yield Observation(families.DEPLOYMENTS_TOTAL, (tier, one.status.value), 1.0, key)
            if one.lead_seconds is not None:
                yield Observation(families.LEAD_TIME, (tier,), one.lead_seconds, key)

    def _learn_tiers(self, environment_ids: set[int]) -> None:
        """Have the tiers of *environment_ids*, stopped ones too; of one that is gone it stays unknown.

        A deployment does not tell the tier of its environment. One whose tier cannot be asked for now is not
        lost: this raises, so that the poll is not saved.
        """
        new = len(environment_ids - self._tiers.keys())
        # Thousands of review apps are many pages: not for each new one of them.
        if new and (new > _ASKED_ONE_BY_ONE or self._first or not self._is_long):
            self._environments()
        missing = sorted(environment_ids - self._tiers.keys())
        if len(missing) > _ASKED_ONE_BY_ONE:
            for page in self._client.environments(self._unit.key, available=False):
                self._note(map(mapping.environment, page))
        for number in sorted(environment_ids - self._tiers.keys()):
            found = None
            if len(missing) <= _ASKED_ONE_BY_ONE:
                found = self._client.environment(self._unit.key, number)
            self._tiers[number] = mapping.environment(found).tier if found else Tier.UNKNOWN

    def _note(self, environments: Iterable[mapping.Environment]) -> None:
        self._tiers.update((one.number, one.tier) for one in environments)

    # -- environments --------------------------------------------------------------------------

    def _environments(self) -> list[mapping.Environment]:
        """The environments that can be deployed to, read once in a poll."""
        if self._listed is None:
            pages = self._client.environments(self._unit.key, available=True)
            self._listed = [mapping.environment(entry) for page in pages for entry in page]
            self._note(self._listed)
        return self._listed

    def _look_around(self, cursor: Cursor) -> Cursor:
        """The cursor with the environments that there are, and the head of the default branch, if due."""
        if not self._is_due(cursor):
            return cursor
        selection = self._config.environments
        shown, surplus = state.select(self._environments(), selection)
        dropped = families.deployment_samples("gitlab", self._unit.name, state.listed(surplus, {}))
        info = families.ENVIRONMENT_INFO
        self._context.page.note_dropped(info, _NO_ROOM, dropped[info])
        standings = state.listed(shown, cursor.standings)
        if new := standings.keys() - cursor.standings.keys():
            standings = self._with_history(standings, {label: shown[label] for label in new})
        return replace(cursor, standings=standings, environments_read_at=self._now)

    def _is_due(self, cursor: Cursor) -> bool:
        """Whether to read the environments: time has passed, or something is deployed to one not known."""
        read_at = cursor.environments_read_at
        if read_at is None or self._first or self._listed is not None:
            return True
        if not 0 <= (self._now - read_at).total_seconds() < self._config.environments_interval_seconds:
            return True
        label = self._config.environments.label
        return any(
            one.status in mapping.SHOWN
            and one.updated_at > read_at
            and (name := label(one.environment)) is not None
            and name not in cursor.standings
            for one in self._found.values()
        )

    def _with_history(
        self, standings: dict[str, Standing], new: dict[str, list[mapping.Environment]]
    ) -> dict[str, Standing]:
        """*standings* with the newest deployments of *new* environments, however long ago they were.

        One page tells of most; the others are asked for one by one, once.
        """
        selection, unknown = self._config.environments, self._context.api.unknown_value

        def add(known: dict[str, Standing], page: list[Any]) -> dict[str, Standing]:
            return state.with_deployments(known, _readable(page, unknown), selection)

        standings = add(standings, self._client.newest_deployments(self._unit.key))
        for label, members in sorted(new.items()):
            known = standings[label]
            is_group = selection.is_grouped(members[0].name)
            if known.newest is None or (known.deployed is None and not is_group):
                page = self._client.newest_deployments(self._unit.key, members[-1].name)
                standings = add(standings, page)
        return standings

    # -- how far behind ------------------------------------------------------------------------

    def _measured(self, cursor: Cursor, before: Cursor) -> Cursor:
        """The cursor with how far each environment is behind; what cannot be told is left out."""
        if not self._config.behind or not self._unit.default_branch:
            return _unmeasured(cursor)
        try:
            head = self._head(cursor, before)
            if head is None:
                return _unmeasured(cursor)
            looked = cursor.environments_read_at != before.environments_read_at
            return replace(self._compared(cursor, head, again=looked), head=head)
        except SourceError as error:
            if news.is_refused(error):
                raise
            self._failure = error
            return cursor

    def _head(self, cursor: Cursor, before: Cursor) -> Commit | None:
        """The newest commit of the default branch; read with the environments, and after a deployment."""
        looked = cursor.environments_read_at != before.environments_read_at
        if not looked and _deployed(cursor) == _deployed(before):
            return cursor.head
        branch = self._client.branch(self._unit.key, self._unit.default_branch)
        return None if branch is None else mapping.head(branch)

    def _compared(self, cursor: Cursor, head: Commit, *, again: bool) -> Cursor:
        """The cursor with the distance of each environment to *head*; only new pairs cost a call.

        One that fails (so many changes that GitLab gives up, say) holds up no other. It is unknown, and
        asked for *again* no sooner than the environments are.
        """
        standings, compared = dict(cursor.standings), {}
        failed: set[str] = set()
        distances: dict[str, Behind | None] = {}
        for label, one in cursor.standings.items():
            if one.deployed is None or label.endswith("/*"):
                continue
            old = one.deployed.commit
            pair, known = f"{old.sha}..{head.sha}", cursor.compared.get(label, "")
            if known == pair or (known == _FAILED + pair and not again):
                compared[label] = known
                continue
            if old.sha not in distances:
                if len(failed) >= _MOST_FAILED:
                    continue  # the next poll goes on here
                try:
                    distances[old.sha] = self._distance(old, head)
                except SourceError as error:
                    if concerns_all(error):
                        raise
                    distances[old.sha] = None
                    failed.add(old.sha)
            compared[label] = _FAILED + pair if old.sha in failed else pair
            standings[label] = replace(one, behind=distances[old.sha])
        return replace(cursor, standings=standings, compared=compared)

    def _note_uncompared(self, cursor: Cursor) -> None:
        names = sorted(label for label, pair in cursor.compared.items() if pair.startswith(_FAILED))
        if names:
            detail = (
                f"GitLab cannot compare what is deployed to {', '.join(names[:3])} with the default branch"
            )
            self._trouble = UnitTrouble(self._unit.name, Trouble.BAD_DATA, detail)

    def _distance(self, old: Commit, head: Commit) -> Behind | None:
        """How far *old* is behind *head*; ``None`` if one of them is not in the repository any more."""
        if old.sha == head.sha:
            return Behind(0, 0.0)
        found = self._client.compare(self._unit.key, old.sha, head.sha)
        if found is None:
            return None
        if old.committed_at is None and (commit := self._client.commit(self._unit.key, old.sha)):
            old = mapping.commit(commit)
        return state.behind(old, head, mapping.commits_between(found))

    def _busy(self, standings: Iterable[Standing]) -> bool:
        """Whether a deployment is under way, so that its end is to be expected soon."""
        since = self._now - _UNDER_WAY
        newest = [one.newest for one in standings if one.newest]
        return any(one.status is Status.RUNNING and one.created_at > since for one in newest)


def _unmeasured(cursor: Cursor) -> Cursor:
    """The cursor without what was known of how far environments are behind."""
    standings = {label: replace(one, behind=None) for label, one in cursor.standings.items()}
    return replace(cursor, standings=standings, compared={}, head=None)


def _deployed(cursor: Cursor) -> list[str]:
    return [one.deployed.commit.sha for one in cursor.standings.values() if one.deployed]


def _readable(page: Iterable[Any], unknown: Any) -> Iterator[Deployment]:
    """Those of *page* that can be understood: only the newest of them matter here."""
    for value in page:
        try:
            yield mapping.deployment(value, unknown=unknown)
        except BadAnswer:
            continue
