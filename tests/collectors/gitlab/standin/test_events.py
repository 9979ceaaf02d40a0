"""Events and users of the stand-in: what the real ones do that a reader does not expect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectors._standin.times import parse

FIXTURES = Path(__file__).parents[1] / "fixtures"
EVENTS = "/projects/101/events"
DAY = 86_400


@pytest.fixture
def world(browse: Callable[..., Any]) -> Any:
    """A still world of one project at noon; its creation is event 1."""
    browser = browse(projects=0, admin=True, start=parse("2026-03-02T12:00:00Z"))
    browser.act("create_project", path="acme/p")
    return browser


def act(world: Any, **given: Any) -> int:
    return int(world.act("event", **{"project": "acme/p", **given})["event_id"])


def ids(world: Any, path: str) -> list[int]:
    return [event["id"] for event in world.json(path)]


def test_events_look_like_real_ones(world: Any) -> None:
    act(world, action_name="joined")
    known = {key for event in json.loads((FIXTURES / "events.json").read_text()) for key in event}
    world.act("new_pipeline", project="acme/p")
    world.act("open_mr", project="acme/p")
    world.run(600)
    shown = {key for event in world.json(EVENTS) for key in event}
    assert known - shown <= {"title", "note"}
    assert shown - known == {"imported", "imported_from"}


def test_the_order_is_by_id_and_the_newest_come_first_unless_asked(world: Any) -> None:
    first, second = act(world), act(world)
    assert ids(world, EVENTS) == [second, first, 1]
    assert ids(world, f"{EVENTS}?sort=asc") == [1, first, second]


def test_days_are_exclusive_on_both_sides(world: Any) -> None:
    yesterday = ids(world, EVENTS)
    world.run(DAY)
    today = [act(world)]
    assert ids(world, f"{EVENTS}?after=2026-03-03") == []
    assert ids(world, f"{EVENTS}?after=2026-03-02") == today
    assert ids(world, f"{EVENTS}?before=2026-03-03") == yesterday
    assert ids(world, f"{EVENTS}?before=2026-03-02") == []
    assert ids(world, f"{EVENTS}?after=2026-03-01&before=2026-03-04") == today + yesterday
    assert world.get(f"{EVENTS}?after=soon")[0] == 400


def test_days_are_those_of_the_instance(browse: Callable[..., Any]) -> None:
    world = browse(projects=0, start=parse("2026-03-02T23:30:00Z"), offset="+02:00")
    world.act("create_project", path="acme/p")
    assert ids(world, f"{EVENTS}?after=2026-03-02") == [1]
    assert world.json(EVENTS)[0]["created_at"] == "2026-03-03T01:30:00.000+02:00"


def test_what_the_token_may_not_see_leaves_gaps_in_pages_and_is_counted(world: Any) -> None:
    hidden = [act(world, hidden=True) for _ in range(4)]
    seen = act(world)
    status, body, headers = world.get(f"{EVENTS}?sort=asc&per_page=2&page=2")
    assert (status, body) == (200, [])
    assert 'rel="next"' in headers["Link"]
    assert headers["X-Total"] == "6"
    assert ids(world, f"{EVENTS}?sort=asc&per_page=2&page=3") == [seen]
    assert not set(hidden) & {event["id"] for event in world.control("GET", "events")["events"]}


def test_a_lower_id_may_be_seen_later(world: Any) -> None:
    late, seen = act(world, late=60), act(world)
    assert ids(world, EVENTS) == [seen, 1]
    assert [event["id"] for event in world.control("GET", "events")["events"]] == [1, seen]
    world.run(60)
    assert ids(world, EVENTS) == [seen, late, 1]


def test_an_event_is_listed_under_its_project_and_its_user_alike(world: Any) -> None:
    number = act(world, user=2)
    (own,) = world.json("/users/2/events")
    assert own["id"] == number
    assert own in world.json(EVENTS)
    assert world.json("/users/bela/events") == [own]
    assert number not in ids(world, "/events")
    (told,) = [one for one in world.control("GET", "events")["events"] if one["id"] == number]
    assert json.loads(told["text"]) == own


def test_events_vanish_with_their_project(world: Any) -> None:
    number = act(world, user=2, project="")
    act(world, user=2)
    world.act("delete_project", project="acme/p")
    assert ids(world, "/users/2/events") == [number]
    assert world.get(EVENTS)[0] == 404


def test_the_last_activity_moves_once_an_hour(world: Any) -> None:
    begun = world.json("/projects/101")["last_activity_at"]
    world.run(3_000)
    act(world)
    assert world.json("/projects/101")["last_activity_at"] == begun
    assert [one["id"] for one in world.json(f"/projects?last_activity_after={begun}")] == []
    world.run(700)
    act(world)
    assert [one["id"] for one in world.json(f"/projects?last_activity_after={begun}")] == [101]


def test_only_administrators_see_when_users_were_active_and_choose_their_order(world: Any) -> None:
    act(world, user=2)
    assert [user["id"] for user in world.json("/users?sort=asc&per_page=2")] == [1, 2]
    assert world.json("/users?username=bela")[0]["last_activity_on"] == "2026-03-02"
    assert world.json("/users/3")["last_activity_on"] is None
    active = world.json("/user/activities?from=2026-03-02")
    assert [one["username"] for one in active] == ["ada", "bela"]
    assert world.json("/user/activities?from=2026-03-03") == []
    world.control("POST", "action", {"action": "set_admin", "admin": False})
    assert world.get("/user/activities")[0] == 403
    assert "last_activity_on" not in world.json("/users/2")
    assert [user["id"] for user in world.json("/users?sort=asc&order_by=id&per_page=2")] == [6, 5]


def test_listing_users_may_be_forbidden(world: Any) -> None:
    world.act("hide_users")
    assert world.get("/users")[0] == 403
    assert world.get("/users/1/events")[0] == 200
    assert world.get("/users/99/events")[0] == 404


def test_the_world_tells_of_what_happens_in_it_and_is_otherwise_as_it_was(browse: Callable[..., Any]) -> None:
    world = browse(projects=4, pipelines_per_hour=120, changes_per_hour=60)
    world.run(3 * 3_600)
    told = world.control("GET", "events")["events"]
    actions = {json.loads(one["text"])["action_name"] for one in told}
    assert {"pushed to", "opened", "accepted", "commented on", "joined"} <= actions
    assert [one["id"] for one in told] == sorted(one["id"] for one in told)
    again = browse(projects=4, pipelines_per_hour=120, changes_per_hour=60)
    again.run(3 * 3_600)
    assert again.control("GET", "events") == world.control("GET", "events")
