"""Of what an Alertmanager is told again and again: what people take for standing, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.store.sql import SqlStore
from tests.support.lookout import WAIT, Lookout, channels
from tests.support.stores import ready_store

Watch = Callable[..., Lookout]
BRANCH = {"kind": "branch_broken"}
DUTY = {"duty": {"alertmanager": {"url": "http://127.0.0.1:9093"}}}
NIGHT = {"from": "22:00", "to": "07:00"}


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """Begins to watch, with an Alertmanager and a chat."""

    def begin(*rules: dict[str, Any], **settings: Any) -> Lookout:
        named = {"channels": channels("chat") | DUTY} | settings
        return Lookout(lambda: SqlStore(ready_store(tmp_path)), *rules, **named)

    return begin


def reminded(lookout: Lookout) -> list[str]:
    return [alert.title for alert in lookout.reminded["duty"]]


def test_an_alert_is_among_them_from_when_it_is_told_until_its_end_is(watch: Watch) -> None:
    lookout = watch(BRANCH)
    lookout.run("failed")
    lookout.wait(WAIT - 5)
    assert reminded(lookout) == []
    lookout.wait(WAIT)
    assert reminded(lookout) == ["acme/app: main is broken"]
    assert lookout.reminded["duty"][0].resolved_at is None
    assert "chat" not in lookout.reminded
    lookout.run("success")
    lookout.wait()
    assert reminded(lookout) == []


def test_an_end_is_taken_out_before_its_message_can_be_sent(watch: Watch) -> None:
    lookout = watch(BRANCH)
    lookout.run("failed")
    lookout.wait()
    saved, seen = lookout.store.alerting.save, []

    def save(*given: Any) -> None:
        if given[3]:
            seen.append(reminded(lookout))
        saved(*given)

    lookout.store.alerting.save = save  # type: ignore[method-assign]
    lookout.run("success")
    lookout.wait()
    assert seen == [[]]


def test_one_that_begins_or_ends_in_quiet_hours_changes_when_it_is_told(watch: Watch) -> None:
    lookout = watch(BRANCH, quiet_hours=NIGHT)
    lookout.project("acme/lib")
    lookout.run("failed")
    lookout.wait(11 * 3600, step=1800)
    lookout.run("success")
    lookout.run("failed", project="acme/lib")
    lookout.wait(7 * 3600, step=1800)
    assert reminded(lookout) == ["acme/app: main is broken"]
    lookout.wait(3600, step=1800)
    assert reminded(lookout) == ["acme/lib: main is broken"]


def test_one_that_flaps_is_among_them_until_it_is_stable(watch: Watch) -> None:
    lookout = watch(BRANCH, flapping={"changes": 2, "window_seconds": 600})
    for status in ("failed", "success", "failed", "success"):
        lookout.run(status)
        lookout.wait(30)
    assert reminded(lookout) == ["acme/app: main breaks again and again"]
    lookout.wait(900, step=30)
    assert reminded(lookout) == []


def test_a_silent_end_takes_it_out(watch: Watch) -> None:
    lookout = watch(BRANCH)
    lookout.project("acme/lib")
    lookout.run("failed", project="acme/lib")
    lookout.wait()
    assert reminded(lookout) == ["acme/lib: main is broken"]
    lookout.forget("acme/lib")
    lookout.wait(70)
    assert reminded(lookout) == []


def test_rules_that_name_other_channels_or_tell_of_moments_are_left_out(watch: Watch) -> None:
    runs = {"kind": "run_failed", "name": "runs"}
    lookout = watch(BRANCH | {"channels": ["chat"]}, runs, runs | {"name": "ended", "resolved": True})
    lookout.run("failed")
    lookout.wait()
    assert [alert.rule for alert in lookout.reminded["duty"]] == ["ended"]


def test_the_next_process_knows_them(watch: Watch) -> None:
    lookout = watch(BRANCH)
    lookout.run("failed")
    lookout.wait()
    before, lookout.reminded = lookout.reminded, {}
    lookout.restart()
    lookout.step()
    assert lookout.reminded["duty"][0].labels == before["duty"][0].labels


def test_one_of_which_nothing_new_is_heard_is_not_read_again(watch: Watch) -> None:
    lookout = watch(BRANCH)
    lookout.run("failed")
    lookout.wait()
    (before,) = lookout.reminded["duty"]
    lookout.wait(30)
    assert lookout.reminded["duty"][0] is before
    lookout.run("failed", username="bob")
    lookout.wait(30)
    assert "By: bob" in lookout.reminded["duty"][0].text
