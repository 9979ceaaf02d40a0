"""The collector of GitLab's events: what people do in projects, told once, in order for each project."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import partial
from zoneinfo import ZoneInfo

from collectors._api import ApiCollector
from collectors.gitlab.events.client import EventsClient
from collectors.gitlab.events.cursor import LATE, MEMORY, Cursor
from collectors.gitlab.events.lists import PROJECTS, USERS, Listed, Projects, Users
from collectors.gitlab.events.mapping import STREAM, Happening, Instance
from collectors.gitlab.events.reader import EventReader
from collectors.gitlab.events.settings import EventsConfig
from exporter.contract import Batch, Context, Discovery, Position, Schedule, Unit
from exporter.errors import UnitUnavailable

_READERS = {PROJECTS: 4, USERS: 2}


class GitLabEvents(ApiCollector[EventsConfig, EventsClient]):
    """Events of projects and of users.

    In every round four parts run beside each other: the list of projects, the events of those that were
    active, the list of users, and their events. A project that the list does not show as active costs
    nothing. What has a project that is read itself is told from there alone, so that it comes in order.
    """

    name = "gitlab_events"
    config_model = EventsConfig
    families = ()
    streams = frozenset((STREAM,))
    unit_noun = "projects and users"

    def __init__(self, config: EventsConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = EventsClient(config, context, self.name)
        self._projects = Projects(self._client, config)
        self._users = Users(self._client, config)
        self._unavailable: set[str] = set()
        self._whole_at: datetime | None = None
        self._zone: tzinfo = UTC if context.timezone == "UTC" else ZoneInfo(context.timezone)
        self._reader = EventReader(
            self._client,
            Instance(config.history_name, config.url.removesuffix("/api/v4")),
            max(MEMORY, timedelta(minutes=config.cache_ttl_minutes)),
            context.api.unknown_value,
        )

    @property
    def schedule(self) -> Schedule:
        """How often to look at a project or user, and in each round at the lists."""
        return replace(super().schedule, discover=self.config.poll_interval_seconds)

    def lane_capacity(self, lane: str) -> int:
        """How many lists of events are read at once: those of users hold up none of the projects."""
        return _READERS.get(lane, 1)

    # -- rounds --------------------------------------------------------------------------------

    def discover(self) -> Discovery:
        """Read both lists, and have everyone polled at once who became active since the last round."""
        now = self.context.clock.now()
        # A clock that was set back makes it so as well: else nothing would until it is as late again.
        whole = self._whole_at is None or not timedelta() <= now - self._whole_at < self._sweep
        with ThreadPoolExecutor(2, thread_name_prefix=self.name) as pool:
            lists = [pool.submit(one.read, now, whole=whole) for one in (self._projects, self._users)]
        # If one list failed, those of the other are woken all the same.
        for done in lists:
            if done.exception() is None:
                for key in done.result():
                    self.context.wake(key)
        for done in lists:
            done.result()
        if whole:
            self._whole_at = now
        units = (*self._projects.listed.values(), *self._users.listed.values())
        return Discovery(tuple(one.unit for one in units), (*self._projects.troubles, *self._users.troubles))

    def poll(self, unit: Unit, position: Position) -> Batch:
        """What happened in one project, or what one user did, if anything can have happened."""
        now = self.context.clock.now()
        listed = self._projects.listed.get(unit.key) or self._users.listed.get(unit.key)
        cursor = Cursor.parse(position.cursor)
        if listed is None or not self._is_due(listed, cursor, position, now):
            return Batch()
        try:
            batch = self._reader.read(
                unit,
                listed.owner,
                cursor,
                floor=self._floor(position),
                now=now,
                wanted=partial(self._is_users, now) if unit.lane == USERS else _everything,
            )
        except UnitUnavailable:
            self._unavailable.add(unit.key)
            raise
        self._unavailable.discard(unit.key)
        return _busy(batch) if listed.eager and _later(listed.active_until, now) else batch

    @property
    def _sweep(self) -> timedelta:
        return timedelta(seconds=self.config.rediscover_interval_seconds)

    def _is_due(self, listed: Listed, cursor: Cursor, position: Position, now: datetime) -> bool:
        """Whether there may be events that the last reading did not see; a clock set back makes it so."""
        if cursor.begun is not None:
            return True
        read_at = cursor.read_at or self._floor(position)
        if _later(listed.active_until, read_at):
            return True
        looked_at = cursor.read_at or position.counts_from
        return not timedelta() <= now - looked_at < self._sweep

    def _floor(self, position: Position) -> datetime:
        """From when on events are told: the begin of the day on which counting begins."""
        day = position.counts_from.astimezone(self._zone).date()
        return datetime.combine(day, time(), self._zone).astimezone(UTC)

    def _is_users(self, now: datetime, one: Happening) -> bool:
        """Whether an event in a user's list is told from there: if no list of a project tells it, in order.

        Where all projects are read, one that is not listed is probably new, and will be: its events wait an
        hour for that, and are found again in the user's list, which is read from two days back.
        """
        project = one.project_id
        if project is None or project in self._unavailable:
            return True
        if project in self._projects.listed or project in self._projects.excluded:
            return False
        return self.config.everything != "visible" or one.created_at <= now - LATE


def _everything(_one: Happening) -> bool:
    return True


def _later(moment: datetime | None, than: datetime) -> bool:
    return moment is not None and moment > than


def _busy(batch: Batch) -> Batch:
    return replace(batch, busy=True)
