"""What happens at GitLab, what is told of it after the next round, and how many calls that costs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from collectors._standin.times import parse
from exporter.contract import Batch, Trouble
from exporter.errors import SourceError
from tests.support.harness import PROJECT, START, EventsLab

Labs = Callable[..., EventsLab]
LISTS = {"GET /projects": 1, "GET /users": 1, "GET /user/activities": 1}
EVENTS, DONE = "GET /projects/:id/events", "GET /users/:id/events"


def event(lab: EventsLab, **given: Any) -> int:
    """Something that the first user does, in the project unless another or none is given."""
    known = {"project": PROJECT, **given}
    return int(lab.act("event", **{key: value for key, value in known.items() if value})["event_id"])


def troubles(lab: EventsLab) -> dict[str, Trouble]:
    return {trouble.name: trouble.reason for trouble in lab.exporter.rounds.troubles()}


def begun(lab: EventsLab) -> EventsLab:
    """A lab whose first project has been quiet for hours, with everything so far told and forgotten."""
    for _ in range(4):
        lab.round(3_000)
    lab.calls()
    return lab


# -- what is told --------------------------------------------------------------------------------


def test_what_happens_is_told_in_the_next_round_and_never_again(events_of: Labs) -> None:
    lab = begun(events_of())
    before = lab.numbers()
    new = [event(lab), event(lab, project=None, user=2)]
    for _ in range(3):
        lab.round()
        assert sorted(lab.numbers()[len(before) :]) == new


def test_what_the_list_hides_for_an_hour_is_told_in_the_next_round_too(events_of: Labs) -> None:
    lab = begun(events_of())
    for _ in range(8):
        new = event(lab)
        lab.round(600)
        assert lab.numbers()[-1] == new
    activity = lab.server.get("/projects/101")[1]["last_activity_at"]
    assert datetime.fromisoformat(activity) <= lab.clock.now() - timedelta(minutes=20)


def test_an_event_goes_on_as_it_was_sent(events_of: Labs) -> None:
    lab = events_of()
    number = event(lab, action_name="pushed to", user=3)
    group = event(lab, project=None, user=2, action_name="opened")
    lab.round()
    texts = {one["id"]: one["text"].encode() for one in lab.server.events()}
    told = {one.id.rpartition("/")[2]: one for one in lab.told()}
    host = lab.server.url.removeprefix("http://")
    pushed, opened = told[str(number)], told[str(group)]
    assert pushed.id == f"{host}/{number}"
    assert (pushed.stream, pushed.type, pushed.key) == ("gitlab", "com.gitlab.event.pushed_to", "101")
    assert pushed.source == f"{lab.server.url}/projects/101"
    assert (opened.key, opened.source) == ("user:2", f"{lab.server.url}/users/2")
    assert (pushed.data, opened.data) == (texts[number], texts[group])


def test_an_event_that_is_seen_late_is_told_though_it_has_a_lower_id(events_of: Labs) -> None:
    lab = begun(events_of())
    late, first = event(lab, late=100), event(lab)
    lab.round(30)
    assert lab.numbers()[-1] == first
    lab.round(80)
    assert lab.numbers()[-1] == late


def test_pages_without_anything_to_see_are_not_the_last(events_of: Labs) -> None:
    lab = events_of(per_page=2)
    for _ in range(9):
        event(lab, hidden=True)
    seen = event(lab)
    lab.round()
    assert lab.numbers()[-1] == seen


def test_it_begins_with_the_current_day(events_of: Labs) -> None:
    ten_hours_before = parse(START) - 10 * 3_600_000
    lab = events_of({"start": ten_hours_before, "admin": True})
    event(lab)
    lab.server.advance(3 * 3_600)
    today = [event(lab), event(lab, project=None)]
    lab.server.advance(7 * 3_600)
    lab.restart()
    lab.exporter.poll()
    assert sorted(lab.numbers()) == today


def test_days_before_are_told_as_well_if_that_is_wanted(events_of: Labs) -> None:
    lab = events_of(backfill_days=2, per_page=1)
    assert lab.numbers() == []
    wanted = [1]
    for _ in range(25):
        lab.advance(3_600)
        wanted.append(event(lab))
    lab.exporter.discover()
    lab.exporter.poll()
    assert lab.numbers() == wanted


def test_new_projects_and_users_are_read_from_the_next_round_on(events_of: Labs) -> None:
    lab = begun(events_of())
    lab.act("create_project", path="acme/new")
    user = lab.act("create_user")["user_id"]
    new = [event(lab, project="acme/new"), event(lab, project=None, user=user)]
    lab.round()
    assert set(new) <= set(lab.numbers())
    assert lab.calls()["GET /projects"] == 1


def test_what_happens_in_a_project_that_is_not_listed_yet_waits_until_it_is_and_keeps_its_order(
    events_of: Labs,
) -> None:
    lab = begun(events_of())
    lab.act("create_project", path="acme/new")
    new = [event(lab, project="acme/new", user=user) for user in (2, 3, 2)]
    lab.advance(30)
    for _ in range(2):
        lab.exporter.poll()
        assert lab.numbers("102") == []
    lab.round()
    assert lab.numbers("102")[-3:] == new


def test_what_happens_in_a_project_that_is_never_listed_is_told_by_its_users(events_of: Labs) -> None:
    lab = begun(events_of())
    lab.act("create_project", path="acme/old")
    lab.act("archive", project="acme/old")
    number = event(lab, project="acme/old", user=2)
    for _ in range(3):
        lab.round(1_900)
    assert lab.numbers()[-1] == number


def test_of_more_users_than_gitlab_shows_the_first_are_read_and_projects_go_on(events_of: Labs) -> None:
    lab = events_of({"admin": True, "users": 9}, per_page=3)
    lab.server.faults({"kind": "status", "status": 405, "path": "/users.*&page=3"})
    lab.restart()
    assert troubles(lab) == {"all users": Trouble.TOO_MANY}
    told = [event(lab, project=None, user=5), event(lab)]
    lab.round()
    assert set(told) <= set(lab.numbers())


def test_the_longest_unseen_is_looked_at_now_and_then(events_of: Labs) -> None:
    lab = begun(events_of({"admin": False}, poll_interval_max_seconds=300))
    hidden_by_the_list = event(lab, project=None, user=4)
    lab.round(1_900)
    assert lab.numbers()[-1] == hidden_by_the_list


# -- whose events --------------------------------------------------------------------------------


def test_only_what_is_named_is_read(events_of: Labs) -> None:
    world = {"admin": True}
    lab = events_of(
        world, projects=["acme/p"], groups=[{"path": "acme/apps"}], exclude=["*/old-*"], users=["bela"]
    )
    for path in ("acme/apps/a", "acme/apps/old-b", "acme/other"):
        lab.act("create_project", path=path)
    lab.exporter.discover()
    lab.exporter.poll()
    told = [event(lab, project=path) for path in ("acme/p", "acme/apps/a")]
    told.append(event(lab, project="acme/other", user=2))  # by somebody who is named
    for path in ("acme/other", "acme/apps/old-b"):
        event(lab, project=path, user=1)
    event(lab, project="acme/apps/old-b", user=2)
    event(lab, project=None, user=3)
    lab.round(400)
    assert sorted(lab.numbers())[-3:] == told
    assert "GET /user/activities" not in lab.calls()
    lab.round(400)
    assert "GET /users" not in lab.calls()


def test_names_that_lead_nowhere_are_told(events_of: Labs) -> None:
    lab = events_of(projects=["acme/none"], groups=[{"path": "nobody"}], users=["nobody", "4711"])
    assert troubles(lab) == dict.fromkeys(
        ("acme/none", "nobody", "user nobody", "user 4711"), Trouble.NOT_FOUND
    )


def test_a_token_that_may_not_list_users_is_told_once_and_reads_projects(
    events_of: Labs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    lab = events_of()
    lab.act("hide_users")
    lab.restart()
    for _ in range(3):
        new = event(lab)
        lab.round()
        assert lab.numbers()[-1] == new
    assert troubles(lab) == {"all users": Trouble.FORBIDDEN}
    said = [record for record in caplog.records if getattr(record, "project", "") == "all users"]
    assert len(said) == 1
    assert "all_users" in getattr(said[0], "detail", "")
    lab.calls()
    lab.round()
    assert "GET /users" not in lab.calls()


def test_what_a_project_refuses_to_tell_its_users_do(events_of: Labs) -> None:
    lab = begun(events_of())
    lab.server.faults({"kind": "status", "status": 403, "path": "/projects/101/events"})
    new = event(lab, user=2)
    for _ in range(2):
        lab.round(60)
    assert lab.numbers()[-1] == new
    assert troubles(lab) == {PROJECT: Trouble.FORBIDDEN}
    lab.server.faults()
    for _ in range(3):
        lab.round(400)
    assert lab.numbers().count(new) == 1
    assert troubles(lab) == {}


def test_one_list_that_fails_does_not_keep_the_other_from_being_used(events_of: Labs) -> None:
    woken: list[str] = []
    lab = begun(events_of())
    object.__setattr__(lab.exporter.collector.context, "wake", woken.append)
    event(lab)
    lab.server.faults({"kind": "status", "status": 500, "path": "/users"})
    lab.advance(30)
    with pytest.raises(SourceError):
        lab.exporter.discover()
    assert woken == ["101"]


def test_who_became_active_is_polled_at_once(events_of: Labs) -> None:
    woken: list[str] = []
    lab = begun(events_of({"admin": True, "users": 9}))
    object.__setattr__(lab.exporter.collector.context, "wake", woken.append)
    event(lab, user=8)
    lab.advance(30)
    lab.exporter.discover()
    assert sorted(woken) == ["101", "user:8"]
    lab.advance(30)
    lab.exporter.discover()
    assert len(woken) == 2


def test_after_a_clock_was_set_back_whole_lists_are_read_again(events_of: Labs) -> None:
    lab = begun(events_of())
    lab.clock.advance(400 * 86_400)
    lab.exporter.discover()
    lab.clock.advance(-400 * 86_400)
    lab.calls()
    lab.exporter.discover()
    assert lab.calls().keys() == {"GET /projects", "GET /users"}, "and nobody is asked for news only"


# -- what it costs -------------------------------------------------------------------------------


@pytest.mark.no_cover  # long, through code that smaller tests cover
@pytest.mark.parametrize(("count", "admin"), [(500, True), (50, False)])
def test_a_round_of_a_thousand_idle_ones_costs_three_calls(events_of: Labs, count: int, admin: bool) -> None:
    lab = events_of({"projects": count, "users": count, "admin": admin})
    lab.exporter.poll()
    lab.calls()
    lab.round()
    assert lab.calls() == {name: 1 for name in LISTS if admin or name != "GET /user/activities"}
    event(lab, project=101, user=7)
    lab.round()
    calls = lab.calls()
    assert calls.pop(EVENTS) == 1
    assert calls.pop(DONE, 0) <= 1
    assert sum(calls.values()) <= 3


def test_a_long_list_is_read_at_its_end_and_only_now_and_then_from_its_begin(events_of: Labs) -> None:
    lab = events_of(per_page=5, all_users=False)
    for _ in range(60):
        event(lab)
    lab.round()
    costs = []
    for _ in range(25):
        event(lab)
        lab.calls()
        lab.round()
        costs.append(lab.calls()[EVENTS])
    assert sorted(costs)[-1] > 12  # everything, once in ten minutes
    assert sorted(costs)[-2] <= 3
    assert len(lab.numbers()) == 86


def test_when_pages_have_moved_everything_is_read_again(events_of: Labs) -> None:
    lab = events_of(per_page=5, all_users=False)
    lab.act("create_project", path="acme/q")
    for _ in range(30):
        event(lab)
    lab.round()
    state = next(one for one in lab.exporter.rounds.states() if one.stored.unit.key == "101")
    cursor = json.loads(lab.exporter.store.position(state.stored.id).cursor or "")
    moved = json.dumps(cursor | {"page": 40})  # as if most had been deleted
    lab.exporter.store.save(state.stored.id, Batch(cursor=moved), lab.clock.now())
    new = event(lab)
    lab.round()
    assert lab.numbers()[-1] == new


def test_ids_are_remembered_as_long_as_reading_by_day_needs_and_no_longer_than_wanted(
    events_of: Labs,
) -> None:
    lab = events_of(cache_ttl_minutes=1)
    lab.round()
    lab.restart(cache_ttl_minutes=14_400)
    event(lab)
    lab.round()
    with lab.exporter.store._read() as connection:
        hours = connection.execute(sa.text("SELECT forget_hour FROM told ORDER BY number")).scalars().all()
    days = [(hour - lab.clock.now().timestamp() / 3_600) / 24 for hour in hours]
    assert [round(day, 1) for day in days] == [4.0, 10.0]
