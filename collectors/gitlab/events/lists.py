"""What GitLab's lists tell of who was active: projects and users, and until when to look at their events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from collectors._http import NotThere
from collectors.gitlab import mapping
from collectors.gitlab.events.client import EventsClient
from collectors.gitlab.events.mapping import instant_of_day
from collectors.gitlab.events.settings import EventsConfig
from collectors.gitlab.settings import Group
from collectors.gitlab.values import instant_or_none, integer, json_object, text
from exporter.contract import Trouble, Unit, UnitTrouble
from exporter.errors import SourceError, Unauthorized

PROJECTS, USERS = "projects", "users"
# GitLab moves a project's last activity at most once an hour: for that long it may hide further events.
# The rest is for events that became visible late, and for clocks that differ.
_HOURLY = timedelta(minutes=65)
# A user's last activity is a day, in a time zone of GitLab's own.
_DAILY = timedelta(hours=37)
_OVERLAP = timedelta(minutes=10)
_FOR_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Listed:
    """One project or user as the lists tell it.

    Up to ``active_until`` it may have events that no list will tell of any more. It is ``None`` if it was
    never active, or the lists do not say so: only the reading of everything, now and then, finds its events.
    ``eager`` asks to be read in every round as long as it is active.
    """

    unit: Unit
    active_until: datetime | None
    eager: bool = False

    @property
    def owner(self) -> str:
        """Its path in the API."""
        return f"{self.unit.lane}/{self.unit.key.rpartition(':')[2]}"


class _Listing(ABC):
    """A list that is read whole now and then, and in each round only where it may have changed."""

    def __init__(self, client: EventsClient, config: EventsConfig) -> None:
        self.listed: dict[str, Listed] = {}
        self.troubles: tuple[UnitTrouble, ...] = ()
        self._client = client
        self._config = config
        self._read_at: datetime | None = None

    def read(self, now: datetime, *, whole: bool) -> list[str]:
        """Read what changed since the last time, or everything; returns the keys of who became active."""
        before = self.listed
        if whole or self._read_at is None:
            troubles: list[UnitTrouble] = []
            found = {one.unit.key: one for one in self._everything(troubles)}
            self.troubles = tuple(troubles)
        else:
            found = before | {one.unit.key: one for one in self._changed(self._since(self._read_at))}
        self.listed, self._read_at = found, now
        return [key for key, one in found.items() if key in before and _woke(before[key], one)]

    def _since(self, read_at: datetime) -> datetime:
        """From when on to ask for changes after a reading at *read_at*."""
        return read_at - _OVERLAP

    @abstractmethod
    def _everything(self, troubles: list[UnitTrouble]) -> Iterator[Listed]:
        """All there are; names that lead nowhere become *troubles*."""

    @abstractmethod
    def _changed(self, since: datetime) -> Iterator[Listed]:
        """Those that were active after *since*, or are new; others may be among them."""


class Projects(_Listing):
    """The projects whose events are read; ``excluded`` are the ids of those left out by their path."""

    def __init__(self, client: EventsClient, config: EventsConfig) -> None:
        super().__init__(client, config)
        self.excluded: set[str] = set()
        self._newest: datetime | None = None

    def _since(self, read_at: datetime) -> datetime:
        """A while before the latest activity seen: our own clock may be ahead of GitLab's."""
        return min(read_at, self._newest or read_at) - _OVERLAP

    def _everything(self, troubles: list[UnitTrouble]) -> Iterator[Listed]:
        config, client = self._config, self._client
        for name in config.projects:
            try:
                project = client.project(name)
            except NotThere as error:
                troubles.append(_not_there(name, error))
            else:
                # No list tells when it is active: it is asked itself, less often while nothing happens.
                yield from self._take([project], (), told=False)
        for group in config.groups:
            try:
                for page in client.group_projects(
                    group.path, subgroups=group.include_subgroups, archived=config.archived
                ):
                    yield from self._take(page, group.exclude)
            except NotThere as error:
                troubles.append(_not_there(group.path, error))
        if config.everything != "none":
            try:
                for page in client.all_projects(
                    member=config.everything == "member", archived=config.archived
                ):
                    yield from self._take(page, ())
            except NotThere as error:
                troubles.append(_not_there("all projects", error))

    def _changed(self, since: datetime) -> Iterator[Listed]:
        config = self._config
        for group in config.groups:
            yield from self._changed_of(group, since)
        if config.everything != "none":
            member = config.everything == "member"
            for page in self._client.active_projects(since, member=member, archived=config.archived):
                yield from self._take(page, ())

    def _changed_of(self, group: Group, since: datetime) -> Iterator[Listed]:
        """Those of a group, whose list has no such filter: the latest come first."""
        try:
            for page in self._client.latest_group_projects(
                group.path, subgroups=group.include_subgroups, archived=self._config.archived
            ):
                yield from self._take(page, group.exclude)
                if any((_last_activity(project) or since) < since for project in page):
                    return
        except NotThere:
            return  # told by the reading of everything

    def _take(self, page: Iterable[Any], exclude: Iterable[str], *, told: bool = True) -> Iterator[Listed]:
        """The projects of *page* but the excluded ones."""
        for project in page:
            found = mapping.unit(project)
            unit = Unit(found.key, found.name, created_at=found.created_at, lane=PROJECTS)
            if any(fnmatchcase(unit.name, glob) for glob in (*exclude, *self._config.exclude)):
                self.excluded.add(unit.key)
            elif told and (active := _last_activity(project)):
                self._newest = max(active, self._newest or active)
                yield Listed(unit, active + _HOURLY, eager=True)
            else:
                yield Listed(unit, _FOR_EVER)


class Users(_Listing):
    """The users whose events are read. Only to administrators GitLab tells when each was last active."""

    def __init__(self, client: EventsClient, config: EventsConfig) -> None:
        super().__init__(client, config)
        self._tells_activity = False
        self._lists = config.everybody

    def _everything(self, troubles: list[UnitTrouble]) -> Iterator[Listed]:
        self._tells_activity, self._lists = False, self._config.everybody
        if self._lists:
            try:
                for page in self._client.all_users():
                    yield from map(self._one, page)
            except NotThere as error:
                self._lists = False
                troubles.append(_not_listed(error))
            except SourceError as error:
                if not error.permanent or isinstance(error, Unauthorized) or error.retry_after is not None:
                    raise
                troubles.append(_too_many(error))
        for name in self._config.users:
            found = self._named(name)
            if found is None:
                troubles.append(UnitTrouble(f"user {name}", Trouble.NOT_FOUND, "GitLab knows no such user"))
            else:
                yield Listed(self._one(found).unit, _FOR_EVER)

    def _named(self, name: str) -> Any | None:
        try:
            return self._client.user(name)
        except NotThere:
            return None

    def _changed(self, since: datetime) -> Iterator[Listed]:
        if not self._lists:
            return
        for page in self._client.newest_users():
            new = [one for one in map(self._one, page) if one.unit.key not in self.listed]
            yield from new
            if len(new) < len(page) or not page:
                break
        if self._tells_activity:
            yield from self._active(since)

    def _active(self, since: datetime) -> Iterator[Listed]:
        """Users who were active on the day of *since* or later; those that are not known yet come later."""
        by_name = {one.unit.name: one for one in self.listed.values()}
        try:
            for page in self._client.active_users((since - timedelta(days=1)).date()):
                for value in page:
                    entry = json_object(value, "activity")
                    known = by_name.get(_name(text(entry, "username")))
                    until = _until(instant_of_day(entry.get("last_activity_on")), _DAILY)
                    if known and known.active_until != _FOR_EVER:
                        yield Listed(known.unit, until)
        except NotThere:
            self._tells_activity = False

    def _one(self, value: Any) -> Listed:
        entry = json_object(value, "user")
        unit = Unit(
            key=f"user:{integer(entry, 'id')}",
            name=_name(text(entry, "username")),
            created_at=instant_or_none(entry.get("created_at")),
            lane=USERS,
        )
        if "last_activity_on" not in entry:
            return Listed(unit, None)
        self._tells_activity = True
        return Listed(unit, _until(instant_of_day(entry["last_activity_on"]), _DAILY))


def _woke(before: Listed, now: Listed) -> bool:
    """Whether the lists tell of something that they did not tell before."""
    return now.active_until is not None and (
        before.active_until is None or now.active_until > before.active_until
    )


def _until(moment: datetime | None, span: timedelta) -> datetime | None:
    return None if moment is None else moment + span


def _last_activity(project: Any) -> datetime | None:
    """When a project of a list was last active, if the list tells."""
    return instant_or_none(json_object(project, "project").get("last_activity_at"))


def _name(username: str) -> str:
    return f"user {username}"


def _not_there(name: str, error: NotThere) -> UnitTrouble:
    if error.status == 404:
        return UnitTrouble(name, Trouble.NOT_FOUND, "GitLab says 404: it does not exist, or is hidden")
    return UnitTrouble(name, Trouble.FORBIDDEN, "GitLab says 403: this token may not read it")


def _too_many(error: SourceError) -> UnitTrouble:
    """GitLab shows 50,000 users, and no more."""
    detail = f"the rest of the users is left out: {error}. Name those that matter, and set all_users to false"
    return UnitTrouble("all users", Trouble.TOO_MANY, detail)


def _not_listed(error: NotThere) -> UnitTrouble:
    detail = (
        f"GitLab says {error.status}: this token may not list users. Events outside of the projects that are"
        " read stay untold; give a token that may, or set all_users to false"
    )
    return UnitTrouble("all users", Trouble.FORBIDDEN, detail)
