"""Rules about what a scrape shows: values, runners, and this program's own collectors and sinks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.store.sql import SqlStore
from tests.support.lookout import Lookout

Watch = Callable[..., Lookout]
REPORT = "oneclick_pr_missing_report"
SUCCESS = "ci_exporter_collector_success"


@pytest.fixture
def watch(sqlite_url: str) -> Watch:
    """Begins to watch, on a store of its own."""
    return lambda *rules, **settings: Lookout(lambda: SqlStore(sqlite_url), *rules, **settings)


def rows(**more: object) -> dict[str, object]:
    return {"kind": "rows", "family": REPORT, "where": {"pr_state": "open"}, "above": 0, **more}


def test_a_row_over_the_limit_is_an_alert_until_it_is_under_it(watch: Watch) -> None:
    lookout = watch(rows(name="missing-report"))
    lookout.shown.show(REPORT, 1, pr_state="closed", pr="1")
    lookout.shown.show(REPORT, 0, pr_state="open", pr="2")
    lookout.wait(60)
    assert lookout.told() == []
    lookout.shown.show(REPORT, 3, pr_state="open", pr="2")
    lookout.wait(20)
    (message,) = lookout.messages()
    assert message.title == "missing-report: open 2 is 3, limit 0"
    assert message.body.splitlines()[:3] == [REPORT, "pr_state: open", "pr: 2"]
    assert message.alerts[0].labels == {"pr_state": "open", "pr": "2"}
    lookout.shown.show(REPORT, 4, pr_state="open", pr="2")
    lookout.wait(60)
    assert lookout.told() == []
    lookout.shown.show(REPORT, 0, pr_state="open", pr="2")
    lookout.wait(20)
    assert lookout.told() == ["resolved: missing-report: open 2 is well again"]


def test_a_row_that_vanishes_is_well_unless_a_collector_fails(watch: Watch) -> None:
    lookout = watch(rows())
    lookout.shown.show(REPORT, 1, pr_state="open", pr="2")
    lookout.shown.show(SUCCESS, 1, collector="sql")
    lookout.wait(20)
    assert len(lookout.told()) == 1
    lookout.shown.show(SUCCESS, 0, collector="sql")
    lookout.shown.hide(REPORT, pr_state="open", pr="2")
    lookout.wait(60)
    assert lookout.told() == []
    lookout.shown.show(SUCCESS, 1, collector="sql")
    lookout.wait(20)
    assert len(lookout.told()) == 1


def test_a_restart_neither_ends_nor_repeats_what_is_not_shown_yet(watch: Watch) -> None:
    lookout = watch(rows(for_seconds=30))
    lookout.shown.show(REPORT, 1, pr_state="open", pr="2")
    lookout.wait(60)
    assert len(lookout.told()) == 1
    lookout.shown.is_ready = False
    lookout.shown.hide(REPORT, pr_state="open", pr="2")
    lookout.restart()
    lookout.wait(60)
    lookout.shown.is_ready = True
    lookout.shown.show(REPORT, 1, pr_state="open", pr="2")
    lookout.wait(60)
    assert lookout.told() == []


def test_below_and_a_time_and_a_most_are_understood(watch: Watch) -> None:
    lookout = watch({"kind": "rows", "family": "x", "below": 1, "for_seconds": 60, "max_alerts": 2})
    for serial in range(4):
        lookout.shown.show("x", 0.5, serial=str(serial))
    lookout.wait(50)
    assert lookout.told() == []
    lookout.shown.hide("x", serial="0")
    lookout.wait(25)
    assert lookout.told() == ["firing: 2 rows are over a limit"]
    assert lookout.active() == {"rule": 2}


def test_a_fleet_without_runners_online_is_told(watch: Watch) -> None:
    lookout = watch({"kind": "runners_offline", "runner_types": ["!project"]})
    for kind, online, offline in (("instance", 2, 1), ("group", 0, 0), ("project", 0, 5)):
        lookout.shown.show("ci_runners", online, provider="forge", runner_type=kind, status="online")
        lookout.shown.show("ci_runners", offline, provider="forge", runner_type=kind, status="offline")
    lookout.wait(300)
    assert lookout.told() == []
    lookout.shown.show("ci_runners", 0, provider="forge", runner_type="instance", status="online")
    lookout.shown.show("ci_runners", 3, provider="forge", runner_type="instance", status="offline")
    lookout.wait(150)
    assert lookout.told() == ["firing: 0 of 3 instance runners of forge are online"]
    lookout.shown.show("ci_runners", 1, provider="forge", runner_type="instance", status="online")
    lookout.wait(20)
    assert lookout.told() == ["resolved: Enough instance runners of forge are online again"]


def test_a_collector_that_fails_for_long_is_told_and_its_end_too(watch: Watch) -> None:
    lookout = watch(
        {"kind": "collector_failing"}, {"kind": "sink_failing", "name": "sinks", "sinks": ["kafka"]}
    )
    lookout.shown.show(SUCCESS, 0, collector="forge")
    lookout.wait(200)
    lookout.shown.show(SUCCESS, 1, collector="forge")
    lookout.wait(20)
    lookout.shown.show(SUCCESS, 0, collector="forge")
    lookout.shown.show("ci_exporter_sink_success", 0, sink="kafka")
    lookout.shown.show("ci_exporter_sink_success", 0, sink="alerts")
    lookout.wait(290)
    assert lookout.told() == []
    lookout.wait(40)
    assert lookout.told() == ["firing: Collector forge fails", "firing: Sink kafka fails"]
    lookout.shown.hide(SUCCESS, collector="forge")
    lookout.shown.show("ci_exporter_sink_success", 1, sink="kafka")
    lookout.wait(20)
    assert lookout.told() == ["resolved: Collector forge works again", "resolved: Sink kafka works again"]
