"""What people are told: once, in groups, not at night, and not again after a restart."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config.rules import QuietHours
from exporter.errors import StoreError
from exporter.model.alerts import NoticeKind, Severity
from exporter.sinks.alerts.quiet import Quiet
from exporter.store.sql import SqlStore
from exporter.store.tables import outbox
from tests.contracts.test_store import REFUSE, kind_of
from tests.support.lookout import WAIT, Lookout, channels
from tests.support.stores import ready_store

Watch = Callable[..., Lookout]
BROKEN = "firing: acme/app: main is broken"
MENDED = "resolved: acme/app: main works again"
BRANCH = {"kind": "branch_broken"}


@pytest.fixture
def watch(open_store: Callable[[], SqlStore]) -> Watch:
    """Begins to watch."""
    return lambda *rules, **settings: Lookout(open_store, *rules, **settings)


# -- once ----------------------------------------------------------------------------------------


def test_what_stands_is_told_again_after_the_interval_only(watch: Watch) -> None:
    lookout = watch(BRANCH | {"repeat_interval_seconds": 3600})
    lookout.run("failed")
    lookout.wait()
    assert lookout.told() == [BROKEN]
    lookout.wait(3595, step=60)
    assert lookout.told() == []
    lookout.wait(20)
    assert lookout.told() == ["repeated: acme/app: main is still broken"]
    lookout.wait(3600, step=60)
    assert len(lookout.told()) == 1


@pytest.mark.parametrize(
    "given", [{"repeat_interval_seconds": None}, {"rule": {"repeat_interval_seconds": 0}}], ids=str
)
def test_it_is_never_told_again_if_nobody_wants_that(watch: Watch, given: dict[str, Any]) -> None:
    settings = {key: value for key, value in given.items() if key != "rule"}
    lookout = watch(BRANCH | given.get("rule", {}), **settings)
    lookout.run("failed")
    lookout.wait(30 * 86400, step=43200)
    assert lookout.told() == [BROKEN]


def test_what_ends_before_it_is_told_is_not_told(watch: Watch) -> None:
    lookout = watch(BRANCH)
    lookout.run("failed")
    lookout.wait(WAIT - 5)
    lookout.run("success")
    lookout.wait(120)
    assert lookout.told() == []


def test_each_channel_gets_its_own_message_and_a_rule_may_name_its_channels(watch: Watch) -> None:
    runs = {"kind": "run_failed", "name": "runs", "channels": ["mail"]}
    lookout = watch(BRANCH, runs, channels=channels("chat", "mail", "pager"))
    lookout.run("failed")
    lookout.wait()
    sent = [(row.channel, row.title) for row in lookout.rows("notices")]
    assert sent == [
        ("chat", "acme/app: main is broken"),
        ("mail", "acme/app: main is broken"),
        ("pager", "acme/app: main is broken"),
        ("mail", "acme/app: a pipeline of main failed"),
    ]


def test_labels_of_a_rule_are_on_its_alerts(watch: Watch) -> None:
    lookout = watch(BRANCH | {"labels": {"team": "web"}, "severity": "critical"})
    lookout.run("failed")
    lookout.wait()
    (alert,) = lookout.messages()[0].alerts
    assert (alert.labels["team"], alert.severity) == ("web", Severity.CRITICAL)


# -- groups --------------------------------------------------------------------------------------


def test_many_alerts_of_one_group_become_one_message(watch: Watch) -> None:
    lookout = watch({"kind": "run_failed"})
    lookout.project("other/x")
    for serial in range(7):
        lookout.project(f"acme/lib-{serial}")
        lookout.run("failed", project=f"acme/lib-{serial}")
        lookout.wait(1)
    lookout.run("failed", project="other/x")
    lookout.wait(20)
    grouped, single = lookout.messages()
    assert grouped.title == "7 pipelines of group acme failed"
    assert grouped.body.splitlines()[:2] == [
        "- acme/lib-0: a pipeline of main failed",
        "  https://forge/runs/1",
    ]
    assert len(grouped.alerts) == 7
    assert single.title == "other/x: a pipeline of main failed"


def test_those_that_break_together_are_listed_by_name_and_a_repeat_is_no_news(watch: Watch) -> None:
    lookout = watch(BRANCH, repeat_interval_seconds=3600)
    for name in ("acme/web", "acme/app", "acme/lib"):
        if name != "acme/app":
            lookout.project(name)
        lookout.run("failed", project=name)
    lookout.wait()
    (first,) = lookout.messages()
    assert [line for line in first.body.splitlines() if line.startswith("- ")] == [
        "- acme/app: main is broken",
        "- acme/lib: main is broken",
        "- acme/web: main is broken",
    ]
    lookout.wait(3600, step=600)
    assert lookout.told() == ["repeated: 3 branches of group acme are broken, still"]


@pytest.mark.parametrize(
    ("by", "messages"),
    [
        (
            "alert",
            ["a/x: main is broken", "a/x: rel is broken", "a/y: main is broken", "b/z: main is broken"],
        ),
        ("project", ["2 branches of a/x are broken", "a/y: main is broken", "b/z: main is broken"]),
        ("group", ["3 branches of group a are broken", "b/z: main is broken"]),
        ("rule", ["4 branches are broken"]),
    ],
)
def test_what_becomes_one_message_can_be_chosen(watch: Watch, by: str, messages: list[str]) -> None:
    lookout = watch(BRANCH | {"refs": ["*"]}, group_by=by)
    for project, ref in (("a/x", "main"), ("a/x", "rel"), ("a/y", "main"), ("b/z", "main")):
        if ref == "main":
            lookout.project(project)
        lookout.run("failed", project=project, ref=ref)
    lookout.wait()
    assert sorted(one.title for one in lookout.messages()) == sorted(messages)


@pytest.mark.no_cover  # long, through code that smaller tests cover
def test_a_group_of_hundreds_stays_a_short_message(watch: Watch) -> None:
    lookout = watch({"kind": "run_failed"})
    for serial in range(150):
        lookout.run("failed", ref=f"branch-{serial}")
    lookout.wait()
    (message,) = lookout.messages()
    assert message.title == "150 pipelines of acme/app failed"
    assert message.body.endswith("- and 130 more")
    assert len(message.alerts) == 150


# -- flapping ------------------------------------------------------------------------------------


def test_a_branch_that_flaps_is_told_so_once_and_is_quiet_until_it_is_stable(watch: Watch) -> None:
    lookout = watch(BRANCH, flapping={"changes": 4, "window_seconds": 3600})
    for _ in range(10):
        lookout.run("failed")
        lookout.wait(60)
        lookout.run("success")
        lookout.wait(60)
    assert lookout.told() == [
        BROKEN, MENDED, BROKEN, MENDED, "firing: acme/app: main breaks again and again",
    ]  # fmt: skip
    lookout.wait(3600, step=60)
    assert lookout.told() == [MENDED]
    lookout.run("failed")
    lookout.wait()
    assert lookout.told() == [BROKEN]


def test_one_that_is_broken_when_it_comes_to_rest_is_not_told_again(watch: Watch) -> None:
    lookout = watch(BRANCH, flapping={"changes": 2, "window_seconds": 600})
    for status in ("failed", "success", "failed"):
        lookout.run(status)
        lookout.wait(30)
    assert lookout.told()[-1] == "firing: acme/app: main breaks again and again"
    lookout.wait(1200, step=30)
    assert lookout.told() == []
    lookout.run("success")
    lookout.wait()
    assert lookout.told() == [MENDED]


# -- quiet hours ---------------------------------------------------------------------------------

NIGHT = {"from": "22:00", "to": "07:00"}


def test_what_breaks_at_night_is_told_in_the_morning_if_it_is_broken_still(watch: Watch) -> None:
    lookout = watch(BRANCH, quiet_hours=NIGHT)
    lookout.project("acme/lib")
    lookout.wait(10 * 3600, step=3600)  # 22:00
    lookout.run("failed")
    lookout.run("failed", project="acme/lib")
    lookout.wait(8 * 3600, step=600)
    lookout.run("success", project="acme/lib")
    lookout.wait(3500, step=100)
    assert lookout.told() == []
    lookout.wait(200)
    assert lookout.told() == [BROKEN]


def test_critical_alerts_do_not_wait_unless_told_to(watch: Watch) -> None:
    late = {**NIGHT, "severities": ["info", "warning", "critical"]}
    lookout = watch(
        BRANCH | {"severity": "critical"},
        {"kind": "run_failed", "name": "held", "severity": "critical", "quiet_hours": late},
        quiet_hours=NIGHT,
    )
    lookout.wait(11 * 3600, step=3600)
    lookout.run("failed")
    lookout.wait()
    assert lookout.told() == [BROKEN]


def test_a_recovery_at_night_is_told_in_the_morning(watch: Watch) -> None:
    lookout = watch(BRANCH, quiet_hours=NIGHT)
    lookout.run("failed")
    lookout.wait(10 * 3600, step=1800)
    lookout.run("success")
    lookout.wait(8 * 3600, step=1800)
    assert lookout.told() == [BROKEN]
    lookout.wait(3700, step=600)
    assert lookout.told() == [MENDED]


def test_they_go_by_the_clock_on_the_wall_where_it_is_put_forward_and_back() -> None:
    paris = zoneinfo.ZoneInfo("Europe/Paris")
    night = Quiet(QuietHours.model_validate({"from": "01:00", "to": "03:00"}), paris)

    def held(*moment: int) -> bool:
        return night.hold(Severity.WARNING, datetime(*moment, tzinfo=UTC))  # type: ignore[misc, arg-type]

    # 2026-03-29: from 02:00 to 03:00 in one step, so that it lasts an hour.
    assert [held(2026, 3, 28, 23, 59), held(2026, 3, 29, 0, 0), held(2026, 3, 29, 0, 59)] == [
        False,
        True,
        True,
    ]
    assert not held(2026, 3, 29, 1, 0)
    # 2026-10-25: two o'clock comes twice, and it lasts three.
    assert [held(2026, 10, 24, 23, 0), held(2026, 10, 25, 1, 30), held(2026, 10, 25, 2, 0)] == [
        True,
        True,
        False,
    ]


def test_days_are_those_on_which_they_begin() -> None:
    friday = Quiet(QuietHours.model_validate({**NIGHT, "days": ["fri"], "timezone": "UTC"}), UTC)
    weekend = Quiet(QuietHours.model_validate({"from": "00:00", "to": "00:00", "days": ["sat", "sun"]}), UTC)
    moments = [datetime(2026, 3, day, hour, tzinfo=UTC) for day in (6, 7, 8, 9) for hour in (3, 23)]
    assert [friday.hold(Severity.INFO, one) for one in moments] == [False, True, True] + [False] * 5
    assert [weekend.hold(Severity.INFO, one) for one in moments] == [False, False] + [True] * 4 + [
        False,
        False,
    ]


# -- restarts ------------------------------------------------------------------------------------


def test_a_restart_at_any_point_neither_repeats_nor_forgets(watch: Watch) -> None:
    lookout = watch(BRANCH)
    lookout.restart()
    lookout.run("failed")
    lookout.restart()
    lookout.wait(5)
    lookout.restart()
    lookout.wait(60)
    assert lookout.told() == [BROKEN]
    lookout.restart()
    lookout.wait(60)
    lookout.run("success")
    lookout.step()
    lookout.restart()
    lookout.wait(60)
    lookout.restart()
    lookout.wait(60)
    assert lookout.told() == [MENDED]


@pytest.mark.parametrize("table", ["alerts", "notices", "sinks"])
def test_what_cannot_be_saved_is_not_told_and_is_told_later(
    watch: Watch, table: str, sql: Any, store_url: str
) -> None:
    lookout = watch(BRANCH)
    lookout.run("failed")
    if table != "sinks":
        lookout.step()
    kind = {"alerts": "UPDATE", "notices": "INSERT", "sinks": "UPDATE"}[table]
    for statement in REFUSE[kind_of(store_url)]:
        sql(statement.format(kind, table))
    lookout.clock.advance(WAIT)
    with pytest.raises(StoreError, match="refused"):
        lookout.step()
    assert lookout.messages() == []
    sql(f"DROP TRIGGER refuse{'' if kind_of(store_url) == 'sqlite' else f' ON {table}'}")
    lookout.restart()
    lookout.wait(20)
    assert lookout.told() == [BROKEN]


def test_who_has_lost_its_turn_tells_nothing(watch: Watch) -> None:
    lookout = watch(BRANCH)
    before = lookout.watching
    lookout.restart()
    lookout.run("failed")
    with pytest.raises(StoreError, match="another process"):
        before.step()
    lookout.wait()
    assert lookout.told() == [BROKEN]


def test_alerts_of_a_rule_that_is_changed_or_gone_end_silently(watch: Watch) -> None:
    lookout = watch(BRANCH, {"kind": "run_failed", "name": "runs", "resolved": True})
    lookout.run("failed")
    lookout.wait()
    assert len(lookout.told()) == 2
    lookout.configure(BRANCH | {"title": "other words", "severity": "info"})
    lookout.begin()
    lookout.wait(60)
    assert lookout.told() == []
    assert lookout.active() == {"rule": 1}
    lookout.configure(BRANCH | {"projects": ["acme/*"]})
    lookout.begin()
    lookout.wait(60)
    lookout.run("success")
    lookout.wait(60)
    assert lookout.told() == []
    assert lookout.rows() == []


def test_nothing_is_told_before_all_that_waits_is_read(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.sinks.alerts.sink.BATCH", 5)
    lookout = watch(BRANCH)
    lookout.run("failed")
    for serial in range(20):
        lookout.run("failed", ref=f"feature-{serial}")
    lookout.watching.step()
    lookout.clock.advance(3600)
    lookout.run("success")
    lookout.wait(60)
    assert lookout.told() == []


def test_an_event_that_cannot_be_read_is_passed_by(watch: Watch) -> None:
    lookout = watch(BRANCH)
    lookout.run("failed")
    with lookout.store._write() as connection:
        connection.execute(outbox.update().values(data=b'{"run": [], "project": {}}'))
    lookout.run("failed")
    lookout.wait()
    assert lookout.told() == [BROKEN]


STEPS = st.lists(
    st.sampled_from(["failed", "success", "retry", "restart", "crash", "wait 4", "wait 15", "wait 700"]),
    max_size=40,
)


@pytest.mark.no_cover
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, changes=st.integers(2, 6))
def test_no_start_is_told_twice_without_an_end(steps: list[str], changes: int, tmp_path_factory: Any) -> None:
    url = ready_store(tmp_path_factory.mktemp("s"))
    stores: list[SqlStore] = []

    def open_store() -> SqlStore:
        stores.append(SqlStore(url))
        return stores[-1]

    lookout = Lookout(open_store, BRANCH, flapping={"changes": changes, "window_seconds": 600})
    last = lookout.run("success")
    newest = "success"
    for step in steps:
        word, _, seconds = step.partition(" ")
        if word == "wait":
            lookout.wait(float(seconds), step=20)
        elif word == "restart":
            lookout.restart()
        elif word == "crash":
            _crash(lookout)
            lookout.restart()
        elif word == "retry":
            lookout.clock.advance(1)
            newest = "success" if newest == "failed" else "failed"
            lookout.run("running", run_id=last)
            lookout.clock.advance(1)
            lookout.run(newest, run_id=last)
        else:
            newest = word
            last = lookout.run(word)
    lookout.wait(1500, step=50)
    told = [one.kind for one in lookout.messages() if one.kind is not NoticeKind.REPEATED]
    assert all(kind is NoticeKind.FIRING for kind in told[::2])
    assert all(kind is NoticeKind.RESOLVED for kind in told[1::2])
    assert len(told) % 2 == (newest == "failed")
    for store in stores:
        store.close()


def _crash(lookout: Lookout) -> None:
    """The process dies while it saves."""

    def dies(*_args: object) -> None:
        raise StoreError("killed")

    lookout.store.notices.add, kept = dies, lookout.store.notices.add  # type: ignore[method-assign, assignment]
    lookout.watching._store.alerting._notices = lookout.store.notices
    with suppress(StoreError):
        lookout.step()
    lookout.store.notices.add = kept  # type: ignore[method-assign]


def test_0_means_never_for_all_rules_as_for_one(watch: Watch) -> None:
    lookout = watch(BRANCH, repeat_interval_seconds=0)
    lookout.run("failed")
    lookout.wait(2 * 86400, step=3600)
    assert lookout.told() == [BROKEN]
