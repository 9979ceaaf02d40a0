"""The endpoints about users and events, with the traps of the real ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from typing import Any

from collectors._standin.asking import Answer, Query, Refusal
from collectors._standin.times import iso, zone_of
from collectors.gitlab.standin.diary import Happening
from collectors.gitlab.standin.params import offset_page
from collectors.gitlab.standin.projects_api import find_project
from collectors.gitlab.standin.records import USERS, User
from collectors.gitlab.standin.render import Render
from collectors.gitlab.standin.world import World

_FORBIDDEN = Refusal(403, {"message": "403 Forbidden"})


class EventsApi:
    """Answers from *world*, written by *render*."""

    def __init__(self, world: World, render: Render) -> None:
        self.world = world
        self.render = render
        self._diary = world.engine.diary
        self._zone = zone_of(world.options.offset)

    # -- events --------------------------------------------------------------------------------

    def own(self, query: Query) -> Answer:
        """``GET /events``: what the owner of the token did."""
        return self._events(query, self._diary.of_user.get(USERS[0].id, ()))

    def of_project(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id/events``."""
        return self._events(query, self._diary.of_project.get(find_project(self.world, key, query).id, ()))

    def of_user(self, query: Query, key: str) -> Answer:
        """``GET /users/:id/events``, by id or name."""
        return self._events(query, self._diary.of_user.get(self._find(key).id, ()))

    def _events(self, query: Query, entries: Iterable[Happening]) -> Answer:
        """A page by id: what the token may not see is taken out of it afterwards, and counted with it."""
        after, before = self._day(query, "after"), self._day(query, "before")
        action, kind = query.text("action"), query.text("target_type")
        down = query.choice("sort", ("asc", "desc"), "desc") == "desc"
        first = self._begin(after + timedelta(days=1)) if after else 0
        until = self._begin(before) if before else 1 << 62
        rows = sorted(
            (
                entry
                for entry in entries
                if first <= entry.created_at < until
                and self._is_there(entry)
                and action in (None, entry.action)
                and (kind is None or kind == str(entry.about.get("target_type", "")).lower())
            ),
            key=lambda entry: entry.id,
            reverse=down,
        )
        answer = offset_page(query, rows, lambda entry: entry)
        answer.body = [self.render.event(entry) for entry in answer.body if not entry.hidden]
        return answer

    def _is_there(self, entry: Happening) -> bool:
        """Whether it is committed by now, and was not deleted with its project."""
        return entry.visible_at <= self.world.now and not (entry.project and entry.project.deleted)

    def _day(self, query: Query, name: str) -> date | None:
        given = query.text(name)
        try:
            return date.fromisoformat(given[:10]) if given else None
        except ValueError:
            raise Refusal(400, {"error": f"{name} is invalid"}) from None

    def _begin(self, day: date) -> int:
        """When *day* begins in the instance's zone: ``after`` a day is from the begin of the next one on."""
        return int(datetime.combine(day, time(), self._zone).timestamp() * 1000)

    def truth(self) -> dict[str, Any]:
        """What every reader with this token's rights can have seen by now, as it was sent."""
        seen = [entry for entry in self._diary.entries if self._is_there(entry) and not entry.hidden]
        return {
            "now": iso(self.world.now),
            "events": [
                {
                    "id": entry.id,
                    "project_id": entry.project.id if entry.project else None,
                    "author_id": entry.author.id,
                    "created_at": iso(entry.created_at),
                    "text": json.dumps(self.render.event(entry), separators=(",", ":")),
                }
                for entry in seen
            ],
        }

    # -- users ---------------------------------------------------------------------------------

    def users(self, query: Query) -> Answer:
        """``GET /users``; only administrators may choose the order, and see more than names."""
        if self.world.users_hidden:
            raise _FORBIDDEN
        name = query.text("username")
        down = query.choice("sort", ("asc", "desc"), "desc") == "desc" or not self.world.admin
        rows = [user for user in self.world.people.everyone if name in (None, user.username)]
        rows.sort(key=lambda user: user.id, reverse=down)
        return offset_page(query, rows, self._user, limit="User")

    def user(self, _query: Query, key: str) -> Answer:
        """``GET /users/:id``; names lead nowhere."""
        if not key.isdigit():
            raise Refusal(404, {"message": "404 User Not Found"})
        return Answer(self._user(self._find(key)))

    def activities(self, query: Query) -> Answer:
        """``GET /user/activities``: who was active on a day or later; for administrators."""
        if not self.world.admin:
            raise _FORBIDDEN
        given = self._day(query, "from") or date.min
        active = [(user, self._active_on(user)) for user in self.world.people.everyone]
        rows = [(user, day) for user, day in active if day and day >= given]
        rows.sort(key=lambda row: (row[1], row[0].id))

        def show(row: tuple[User, date]) -> dict[str, str]:
            day = row[1].isoformat()
            return {"username": row[0].username, "last_activity_on": day, "last_activity_at": day}

        return offset_page(query, rows, show)

    def _find(self, key: str) -> User:
        for user in self.world.people.everyone:
            if key in (str(user.id), user.username):
                return user
        raise Refusal(404, {"message": "404 User Not Found"})

    def _user(self, user: User) -> dict[str, Any]:
        known = self.render.user(user)
        if self.world.admin:
            day = self._active_on(user)
            known |= {
                "created_at": self.render.time(self.world.people.came_at.get(user.id, 0)),
                "last_activity_on": day.isoformat() if day else None,
                "is_admin": user is USERS[0],
                "external": False,
                "email": f"{user.username}@example.com",
            }
        return known

    def _active_on(self, user: User) -> date | None:
        """The day on which *user* did something last."""
        done = self._diary.of_user.get(user.id)
        return datetime.fromtimestamp(done[-1].created_at / 1000, self._zone).date() if done else None
