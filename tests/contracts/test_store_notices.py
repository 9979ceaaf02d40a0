"""What every store promises of messages to people: kept in their order until they are sent or given up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from exporter.model.alerts import Alert, Notice, NoticeKind, Severity
from exporter.store.sql import SqlStore


@pytest.fixture
def notice(make: Any) -> Any:
    """Makes messages."""

    def new(title: str = "t", channel: str = "team", **facts: Any) -> Notice:
        alert = Alert(
            fingerprint="f",
            rule="r",
            severity=Severity.WARNING,
            labels={"project": "g/p"},
            title=title,
            text="☃ \n two lines",
            started_at=make.at(-60),
            resolved_at=facts.pop("resolved_at", None),
            url="https://host/1",
        )
        values: dict[str, Any] = dict(
            channel=channel,
            kind=NoticeKind.FIRING,
            title=title,
            body="b",
            alerts=(alert,),
            created_at=make.START,
        )
        return Notice(**(values | facts))

    return new


def add(store: SqlStore, *notices: Notice) -> None:
    with store._write() as connection:
        store.notices.add(connection, notices)
    store.notices.ring()


def next_title(store: SqlStore, now: Any, channel: str = "team") -> str | None:
    found = store.notices.next(channel, now, passing=3)
    return found.title if found else None


def test_a_message_comes_back_as_it_was_added(store: SqlStore, make: Any, notice: Any) -> None:
    for one in (notice(), notice(resolved_at=make.at(5), kind=NoticeKind.RESOLVED)):
        add(store, one)
        found = store.notices.next("team", make.START, passing=3)
        assert found is not None
        assert found == Notice(**{name: getattr(one, name) for name in _FACTS}, number=found.number)
        store.notices.remove([found.number])
    assert store.notices.waiting() == {}


_FACTS = ("channel", "kind", "title", "body", "alerts", "created_at")


def test_messages_come_in_the_order_they_were_added_channel_by_channel(
    store: SqlStore, make: Any, notice: Any
) -> None:
    add(store, notice("1"), notice("x", "other"), notice("2"))
    assert store.notices.waiting() == {"team": 2, "other": 1}
    found = store.notices.next("team", make.START, passing=3)
    assert found is not None
    store.notices.remove([found.number])
    assert (found.title, next_title(store, make.START)) == ("1", "2")
    assert next_title(store, make.START, "other") == "x"
    assert next_title(store, make.START, "unknown") is None


def test_one_that_is_put_off_holds_up_the_others_until_it_failed_a_few_times(
    store: SqlStore, make: Any, notice: Any
) -> None:
    add(store, notice("1"), notice("2"))
    head = store.notices.next("team", make.START, passing=3)
    assert head is not None
    for attempts in (1, 2):
        store.notices.postpone(head.number, make.at(60))
        assert next_title(store, make.at(59)) is None, attempts
        assert next_title(store, make.at(60)) == "1"
    store.notices.postpone(head.number, make.at(60))
    assert next_title(store, make.at(59)) == "2"
    again = store.notices.next("team", make.at(60), passing=3)
    assert again is not None
    assert (again.title, again.attempts) == ("1", 3)


def test_what_waits_for_other_channels_can_be_dropped(store: SqlStore, make: Any, notice: Any) -> None:
    add(store, notice("1"), notice("2", "old"), notice("3", "older"))
    assert store.notices.remove_others(["team"]) == 2
    assert store.notices.waiting() == {"team": 1}


def test_what_is_added_waits_in_the_next_process_too(
    store: SqlStore, open_store: Any, make: Any, notice: Any
) -> None:
    add(store, notice("1"))
    assert next_title(open_store(), make.START + timedelta(days=1)) == "1"


def test_who_sends_is_woken(store: SqlStore, notice: Any) -> None:
    with store.notices.bell() as bell, store.notices.bell() as other:
        assert not bell.is_set()
        add(store, notice())
        assert bell.is_set()
        assert other.is_set()
