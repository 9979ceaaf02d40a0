"""Events of all ages to ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors._raw import elements
from collectors.gitlab.events.cursor import Cursor
from collectors.gitlab.events.mapping import Happening, Instance, happening
from exporter.errors import BadAnswer

FIXTURES = Path(__file__).parents[1] / "fixtures"
AT = Instance("gitlab.test", "https://gitlab.test")
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "id": 8,
    "project_id": 15,
    "action_name": "closed",
    "target_id": 830,
    "target_iid": 82,
    "target_type": "Issue",
    "author_id": 1,
    "created_at": "2026-03-02T07:00:00.085Z",
}
PUSH = {"target_id": None, "target_type": None, "action_name": "pushed to"}


def read(value: Any, raw: bytes = b"raw", unknown: list[str] | None = None) -> Happening:
    report = (unknown if unknown is not None else []).append
    return happening(raw, value, AT, remember_until=NOW, unknown=report)


def test_an_event_in_full() -> None:
    one = read(EVENT)
    assert (one.created_at, one.project_id) == (datetime(2026, 3, 2, 7, 0, 0, 85_000, tzinfo=UTC), "15")
    event = one.event
    assert (event.stream, event.id, event.number) == ("gitlab", "gitlab.test/8", 8)
    assert (event.source, event.type) == ("https://gitlab.test/projects/15", "com.gitlab.event.closed")
    assert (event.subject, event.time, event.key) == ("issue/830", one.created_at, "15")
    assert (event.data, event.remember_until) == (b"raw", NOW)


def test_an_event_without_a_project_is_of_its_author() -> None:
    event = read(EVENT | {"project_id": None, "target_type": None}).event
    assert (event.source, event.subject, event.key) == ("https://gitlab.test/users/1", "users/1", "user:1")


@pytest.mark.parametrize(
    ("action", "kind", "known"),
    [
        ("commented on", "commented_on", True),
        ("Pushed New", "pushed_new", True),
        ("removed due to membership expiration from", "removed_due_to_membership_expiration_from", True),
        ("danced <with> ü", "danced_with", False),
        ("x" * 500, "x" * 60, False),
        ("\u202e", "unknown", False),
        (None, "unknown", False),
        (7, "unknown", False),
    ],
)
def test_an_action_is_one_plain_word(action: object, kind: str, known: bool) -> None:
    unknown: list[str] = []
    assert read(EVENT | {"action_name": action}, unknown=unknown).event.type == f"com.gitlab.event.{kind}"
    assert unknown == ([] if known else ["action"])


@pytest.mark.parametrize(
    ("push", "subject"),
    [
        ({"ref_type": "branch", "ref": "feature/a"}, "branch/feature/a"),
        ({"ref_type": "tag", "ref": "v1"}, "tag/v1"),
        ({"ref": "a\x00b\ud800"}, "ref/a\ufffdb\ufffd"),
        ({"ref_type": "branch", "ref": None, "ref_count": 9}, "projects/15"),
        ("nonsense", "projects/15"),
    ],
)
def test_what_was_pushed_is_the_subject(push: object, subject: str) -> None:
    assert read(EVENT | PUSH | {"push_data": push}).event.subject == subject


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "8"},
        {"id": -1},
        {"id": True},
        {"project_id": "p"},
        {"author_id": 1.5},
        {"created_at": None},
        {"created_at": "soon"},
    ],
)
def test_what_is_no_event_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        read(EVENT | wrong)


@pytest.mark.parametrize("value", [None, [], "event", 5])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(BadAnswer):
        read(value)


def test_events_of_old_versions_have_no_id_and_are_told_apart_all_the_same() -> None:
    raw = (FIXTURES / "project_events.json").read_bytes()
    texts = elements(raw)
    found = [read(value, text) for text, value in zip(texts, json.loads(raw), strict=True)]
    assert [one.event.type.rpartition(".")[2] for one in found] == ["commented_on", "deleted", "pushed_new"]
    assert [one.event.number for one in found] == [None] * 3
    assert len({one.event.id for one in found}) == 3
    assert all(one.event.data in raw for one in found)
    renamed = json.loads(raw)[0] | {"author": {"name": "Other"}, "author_username": "other"}
    assert read(renamed).event.id == found[0].event.id


def test_documented_events_are_read_or_refused_for_their_missing_time() -> None:
    raw = (FIXTURES / "events.json").read_bytes()
    for text, value in zip(elements(raw), json.loads(raw), strict=True):
        if "created_at" in value:
            assert read(value, text).event.number == value["id"]
        else:
            with pytest.raises(BadAnswer, match="created_at"):
                read(value, text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from([*EVENT, "push_data", "note"]), JSON))
def test_senseless_events_are_refused_and_raise_nothing_else(change: dict[str, Any]) -> None:
    try:
        event = read(EVENT | change).event
    except BadAnswer:
        return
    assert event.key
    assert event.subject.encode()


@given(st.none() | st.text(max_size=20) | JSON.map(lambda value: json.dumps(value)))
def test_a_cursor_that_cannot_be_read_is_the_beginning(text: str | None) -> None:
    assert Cursor.parse(text).begun is None


def test_a_cursor_comes_back_as_it_was_written() -> None:
    cursor = Cursor(NOW.date(), 7, NOW, False, NOW, NOW)
    assert Cursor.parse(str(cursor)) == cursor
    assert Cursor.parse(str(Cursor())) == Cursor()
