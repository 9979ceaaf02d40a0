"""What lasts from poll to poll survives being written down."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from collectors._testing import Case, Newest, RefKey
from collectors.gitlab.testreports.cursor import State, Waiting
from exporter.model.runs import RefKind

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)


def waiting(run_id: int) -> Waiting:
    due, until = NOW + timedelta(seconds=30), NOW + timedelta(days=100)
    return Waiting(run_id, "v1", "push", NOW, due, until, counts=False, kind=RefKind.TAG)


def full() -> State:
    newest = Newest(
        7,
        NOW,
        2.5,
        {"success": 3, "failed": 1},
        {"failed": 1},
        "key",
        {Case("unit", "spec", 'says "ä"'): "F.F"},
    )
    return State(
        updated_at=NOW,
        children_at=NOW,
        refs_read_at=NOW,
        seen={7: NOW},
        running={8: NOW},
        queue={9: waiting(9)},
        suites={"unit": NOW},
        looked={"main": 7},
        newest={RefKey("main", "branch", "push"): newest},
    )


def test_it_is_read_as_it_was_written() -> None:
    assert State.parse(str(full())) == full()
    assert State.parse(str(State())) == State.parse(None) == State()


@pytest.mark.parametrize(
    "text",
    ["[", "[]", "7", '{"updated_at": 7}', '{"seen": []}', '{"queue": [[1]]}', '{"newest": [["main", {}]]}'],
)
def test_one_that_cannot_be_read_begins_anew(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert State.parse(text) == State()
    assert "could not be read" in caplog.text


def test_a_report_that_cannot_be_read_is_tried_ever_more_rarely_and_then_given_up() -> None:
    one: Waiting | None = waiting(1)
    waits = []
    while (one := one.put_off(NOW, "down" * 100)) is not None:
        waits.append((one.due - NOW).total_seconds())
        assert len(one.error) == 200
    assert waits[:3] == [30, 60, 120]
    assert max(waits) == 3_600
    assert 86_400 < sum(waits) < 2 * 86_400


@pytest.mark.parametrize(("seconds", "due"), [(29, False), (30, True), (-3_000, False), (-7_000, True)])
def test_a_clock_that_is_set_back_holds_up_no_report(seconds: float, due: bool) -> None:
    assert waiting(1).is_due(NOW + timedelta(seconds=seconds)) is due


def test_what_no_list_can_bring_any_more_is_forgotten() -> None:
    state, overlap = full(), timedelta(seconds=60)
    state.seen |= {number: NOW - timedelta(seconds=60 * number) for number in range(5)}
    state.running[6] = NOW - timedelta(days=2)
    state.forget(overlap, NOW)
    assert set(state.seen) == {7, 0, 1, 2}
    assert set(state.running) == {8}
    assert state.busy(NOW)


def test_suites_keep_their_names_and_others_get_none() -> None:
    state = State()
    assert [state.suite_label(name, NOW, 2) for name in ("b", "a", "c", "b")] == ["b", "a", "other", "b"]
    assert list(state.suites) == ["b", "a"]
    assert [state.suite_label(name, NOW, 1) for name in ("b", "a")] == ["b", "other"]


def test_suites_that_reports_come_without_for_a_month_give_their_names_back() -> None:
    state, later = State(), NOW + timedelta(days=31)
    for name in ("gone", "other", "stays"):
        state.suite_label(name, NOW, 4)
    assert state.give_up_suites() == [], "nothing happens: all of them may come again"
    state.suite_label("stays", later, 4)
    state.suite_label("stays", NOW, 4)
    assert state.give_up_suites() == ["gone"], "the totals of `other` are those of all that have no name"
    assert state.suites == {"stays": later}


def test_a_state_of_the_version_before_goes_on() -> None:
    given = json.loads(str(full()))
    given["suites"] = ["unit"]
    given["queue"] = [entry[:-1] for entry in given["queue"]]
    assert State.parse(json.dumps(given)) == full()
