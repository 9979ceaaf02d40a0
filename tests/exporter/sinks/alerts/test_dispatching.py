"""Messages are sent in order and patiently, and no channel waits for another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from exporter.clock import FixedClock
from exporter.config.channels import ChannelSettings
from exporter.errors import SinkError, StoreError
from exporter.model.alerts import Alert, Notice, NoticeKind
from exporter.runnermetrics import RunnerMetrics
from exporter.sinkmetrics import SinkMetrics
from exporter.sinks.alerts import dispatching
from exporter.sinks.alerts.channels import Channel
from exporter.sinks.alerts.dispatching import Dispatcher, Lane
from exporter.sinks.base import SinkContext
from exporter.store.sql import SqlStore
from tests.exporter.sinks.alerts.conftest import make_alert, make_notice
from tests.support.fakes import NOW
from tests.support.process import PATIENCE, SOON, wait_until


class Recorder(Channel):
    """A channel that notes what it is given, and does with it what a test says."""

    def __init__(self, name: str = "team", **settings: Any) -> None:
        super().__init__(name, ChannelSettings(url=SecretStr("json://x"), **settings))
        self.tried: list[str] = []
        self.sent: list[str] = []
        self.work: Callable[[Notice], None] = lambda _notice: None

    def send(self, notice: Notice) -> None:
        self.tried.append(notice.title)
        self.work(notice)
        self.sent.append(notice.title)


def fail(message: str = "down", **facts: Any) -> Callable[[Notice], None]:
    """Work that fails."""

    def work(_notice: Notice) -> None:
        raise SinkError(message, **facts)

    return work


@dataclass
class Office:
    """A store, a clock that stands still, and metrics."""

    store: SqlStore
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW))
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    work: RunnerMetrics = field(default_factory=RunnerMetrics)

    def __post_init__(self) -> None:
        self.metrics = SinkMetrics(self.registry)

    @property
    def context(self) -> SinkContext:
        return SinkContext(self.store, self.clock, self.metrics, self.work)

    def add(self, *titles: str, channel: str = "team") -> None:
        with self.store._write() as connection:
            self.store.notices.add(
                connection,
                [make_notice(channel, title=title, created_at=self.clock.now()) for title in titles],
            )
        self.store.notices.ring()

    @property
    def waiting(self) -> int:
        return sum(self.store.notices.waiting().values())

    def lane(self, channel: Channel) -> Lane:
        """The way to *channel*, that a test goes step by step."""
        return Lane(channel, self.context)

    @contextmanager
    def sending(self, *channels: Channel) -> Iterator[threading.Event]:
        """A dispatcher at work on a thread, until the block ends or what it gives is set."""
        stopping = threading.Event()
        dispatcher = Dispatcher({one.name: one for one in channels}, self.context)
        thread = threading.Thread(target=dispatcher.run, args=(stopping,))
        thread.start()
        try:
            yield stopping
        finally:
            stopping.set()
            thread.join(SOON)
            assert not thread.is_alive()

    def count(self, result: str, channel: str = "team") -> float | None:
        labels = {"channel": channel, "result": result}
        return self.registry.get_sample_value("ci_exporter_notifications_total", labels)


@pytest.fixture
def office(sqlite_url: str) -> Iterator[Office]:
    store = SqlStore(sqlite_url)
    yield Office(store)
    store.close()


# -- step by step --------------------------------------------------------------------------------


def steps(lane: Lane) -> None:
    """Go on until there is nothing to do now."""
    while lane.step():
        pass


def test_messages_are_sent_in_their_order_and_removed(office: Office) -> None:
    channel = Recorder()
    office.add("1", "2", "3")
    steps(office.lane(channel))
    assert channel.sent == ["1", "2", "3"]
    assert office.waiting == 0


def test_a_message_that_was_not_taken_is_tried_again_later_and_later(office: Office) -> None:
    channel = Recorder()
    channel.work = fail()
    office.add("1")
    lane, times = office.lane(channel), []
    for second in range(400):
        tried = len(channel.tried)
        steps(lane)
        if len(channel.tried) > tried:
            times.append(second)
        office.clock.advance(1)
    waits = [after - before for before, after in pairwise(times)]
    assert times[0] == 0
    for wait, base in zip(waits, (5, 10, 40, 80, 160), strict=False):
        assert 0.8 * base <= wait <= 1.2 * base + 1
    assert len(waits) >= 4
    channel.work = lambda _notice: None
    office.clock.advance(600 * 1.2)
    steps(lane)
    assert (channel.sent, office.waiting) == (["1"], 0)


def test_those_after_a_message_that_fails_keep_their_place(office: Office) -> None:
    channel = Recorder()
    channel.work = fail()
    office.add("broken", "mended")
    lane = office.lane(channel)
    steps(lane)
    channel.work = lambda _notice: None
    steps(lane)
    assert channel.sent == []
    office.clock.advance(6)
    steps(lane)
    assert channel.sent == ["broken", "mended"]


def test_a_message_that_is_never_taken_holds_up_the_others_for_a_few_attempts_only(office: Office) -> None:
    channel = Recorder()

    def work(notice: Notice) -> None:
        if notice.title == "poison":
            raise SinkError("this one not")

    channel.work = work
    office.add("poison", "2", "3")
    lane = office.lane(channel)
    for _ in range(4):
        steps(lane)
        office.clock.advance(25)
    assert channel.sent == ["2", "3"]
    assert channel.tried.count("poison") >= 3
    assert office.waiting == 1


def test_of_what_went_on_while_a_channel_was_dead_only_what_still_matters_is_sent(office: Office) -> None:
    """Of an alert that is told again and again: its begin, and how it is now."""
    one, other = make_alert("f1"), make_alert("f2")
    told: list[tuple[NoticeKind, str, tuple[Alert, ...]]] = [
        (NoticeKind.FIRING, "both are broken", (one, other)),
        (NoticeKind.REPEATED, "both are still broken", (one, other)),
        (NoticeKind.REPEATED, "both are broken even now", (one, other)),
        (NoticeKind.RESOLVED, "one works again", (one,)),
        (NoticeKind.REPEATED, "the other is still broken", (other,)),
        (NoticeKind.REPEATED, "the other is broken even now", (other,)),
    ]
    with office.store._write() as connection:
        for kind, title, alerts in told:
            office.store.notices.add(connection, [make_notice(kind=kind, title=title, alerts=alerts)])
    channel = Recorder()
    steps(office.lane(channel))
    assert channel.sent == [
        "both are broken",
        "both are broken even now",
        "one works again",
        "the other is broken even now",
    ]
    assert office.waiting == 0


def test_a_message_that_comes_late_says_when_it_was_so(office: Office) -> None:
    bodies: list[str] = []
    channel = Recorder()
    channel.work = lambda notice: bodies.append(notice.body.splitlines()[0])
    for late in (299, 3300):
        office.add("1")
        office.clock.advance(late)
        steps(office.lane(channel))
    assert bodies == ["unit failed: script_failure", "Late by 55 min: this was so at 2026-03-01 12:04."]


def test_the_wait_that_the_receiver_asks_for_is_kept(office: Office) -> None:
    channel = Recorder()
    channel.work = fail(retry_after=300)
    office.add("1", "2")
    lane = office.lane(channel)
    steps(lane)
    channel.work = lambda _notice: None
    office.clock.advance(299)
    steps(lane)
    assert channel.tried == ["1"]
    office.clock.advance(1)
    steps(lane)
    assert channel.sent == ["1", "2"]


def test_no_more_are_sent_in_a_minute_than_allowed(office: Office) -> None:
    channel = Recorder(per_minute=2)
    office.add("1", "2", "3", "4", "5")
    lane = office.lane(channel)
    steps(lane)
    assert channel.sent == ["1", "2"]
    office.clock.advance(59)
    steps(lane)
    assert channel.sent == ["1", "2"]
    office.clock.advance(1)
    steps(lane)
    assert channel.sent == ["1", "2", "3", "4"]


def test_a_message_that_cannot_be_sent_for_long_is_given_up_aloud(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    channel = Recorder(give_up_after_seconds=3600)
    channel.work = fail("no such chat")
    office.add("1")
    lane = office.lane(channel)
    for _ in range(60):
        steps(lane)
        office.clock.advance(100)
    assert office.waiting == 0
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    facts = line.__dict__
    assert (line.message, facts["channel"], facts["title"]) == ("message is given up", "team", "1")
    assert facts["error"] == "no such chat"
    assert office.count("given_up") == 1
    assert office.count("error") == len(channel.tried) == facts["attempts"]


def test_an_old_message_gets_one_attempt_after_a_long_pause(office: Office) -> None:
    channel = Recorder(give_up_after_seconds=3600)
    office.add("1")
    office.clock.advance(100_000)
    steps(office.lane(channel))
    assert channel.sent == ["1"]


def test_a_message_that_will_never_be_taken_is_given_up_at_once(office: Office) -> None:
    channel = Recorder()
    channel.work = fail("it is no alert", permanent=True)
    office.add("1")
    steps(office.lane(channel))
    assert (channel.tried, office.waiting, office.count("given_up")) == (["1"], 0, 1)


def test_a_bug_of_a_channel_is_logged_and_tried_again(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    channel = Recorder()

    def work(_notice: Notice) -> None:
        raise ZeroDivisionError

    channel.work = work
    office.add("1")
    lane = office.lane(channel)
    steps(lane)
    assert [record.message for record in caplog.records if record.exc_info] == ["sending raised"]
    channel.work = lambda _notice: None
    office.clock.advance(6)
    steps(lane)
    assert channel.sent == ["1"]


def test_attempts_are_counted_and_timed(office: Office) -> None:
    channel = Recorder()
    with office.sending(channel):
        results = ("success", "error", "given_up")
        wait_until(lambda: [office.count(result) for result in results] == [0, 0, 0], "zeros are shown")
    office.add("1")
    steps(office.lane(channel))
    assert office.count("success") == 1
    value = office.registry.get_sample_value
    assert value("ci_exporter_notification_duration_seconds_count", {"channel": "team"}) == 1
    reported = {sample.labels.get("result"): sample.value for sample in _samples(office, "report_log")}
    assert reported["success"] == 1


def _samples(office: Office, name: str) -> list[Any]:
    return [
        sample
        for family in office.work.collect()
        if family.name.endswith(name)
        for sample in family.samples
        if sample.name.endswith("_total")
    ]


def test_a_message_is_not_sent_again_because_the_store_cannot_remove_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Recorder()
    office.add("1", "2")
    lane = office.lane(channel)
    with monkeypatch.context() as patch:
        patch.setattr(office.store.notices, "remove", _refuse)
        for _ in range(3):
            with pytest.raises(StoreError):
                steps(lane)
    assert channel.sent == ["1"]
    steps(lane)
    assert (channel.sent, office.waiting) == (["1", "2"], 0)


def _refuse(_numbers: Any) -> None:
    raise StoreError("the disk is full")


def test_a_crash_between_sending_and_removing_makes_one_repeat(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Recorder()
    office.add("1", "2")
    with monkeypatch.context() as patch:
        patch.setattr(office.store.notices, "remove", _refuse)
        with pytest.raises(StoreError):
            steps(office.lane(channel))
    steps(office.lane(channel))  # of the next process, which knows only the store
    assert (channel.sent, office.waiting) == (["1", "1", "2"], 0)


# -- reminders -------------------------------------------------------------------------------------


class Forgetful(Recorder):
    """A channel that is to be told every minute of what stands."""

    resend_seconds = 60


def reminding(office: Office, channel: Channel) -> Lane:
    lane = office.lane(channel)
    lane.standing = (make_alert("f1"), make_alert("f2"))
    return lane


def test_a_channel_that_forgets_is_told_of_all_that_stands_once_in_its_interval(office: Office) -> None:
    channel, told = Forgetful(), []
    channel.work = told.append
    lane = reminding(office, channel)
    for _ in range(4):
        lane.remind()
        office.clock.advance(30)
    assert [notice.kind for notice in told] == [NoticeKind.REPEATED] * 2
    assert told[0].alerts == lane.standing
    assert (office.count("success"), office.waiting) == (2, 0)
    lane.standing = ()
    office.clock.advance(60)
    lane.remind()
    assert len(told) == 2


def test_a_channel_that_forgets_nothing_is_not_reminded(office: Office) -> None:
    channel = Recorder()
    reminding(office, channel).remind()
    assert channel.tried == []


def test_a_reminder_that_fails_is_counted_and_holds_no_message(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    channel = Forgetful(per_minute=1)
    channel.work = fail("refused")
    lane = reminding(office, channel)
    for _ in range(2):
        lane.remind()
        office.clock.advance(60)
    assert (office.count("error"), office.waiting) == (2, 0)
    (line,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert (line.message, line.error) == ("channel was not told again of what stands", "refused")  # type: ignore[attr-defined]
    channel.work = lambda _notice: None
    office.add("1")
    steps(lane)
    assert channel.sent == ["1"]


def test_a_channel_is_reminded_while_a_message_waits_for_its_next_attempt(office: Office) -> None:
    channel = Forgetful()
    lane = reminding(office, channel)
    channel.work = fail()
    office.add("1")
    steps(lane)
    channel.work = lambda _notice: None
    lane.remind()
    assert channel.sent == [""]
    assert office.waiting == 1


def test_reminders_go_to_the_channels_they_are_for_while_the_dispatcher_runs(office: Office) -> None:
    duty, other = Forgetful("duty"), Forgetful("other")
    stopping = threading.Event()
    dispatcher = Dispatcher({"duty": duty, "other": other}, office.context)
    dispatcher.remind({"duty": (make_alert(),), "gone": (make_alert(),)})
    thread = threading.Thread(target=dispatcher.run, args=(stopping,))
    thread.start()
    try:
        wait_until(lambda: duty.sent == [""], "it is reminded")
    finally:
        stopping.set()
        thread.join(SOON)
    assert not thread.is_alive()
    assert other.sent == []


# -- attempts that hang --------------------------------------------------------------------------


def test_an_attempt_that_hangs_is_left_in_time_and_not_doubled(office: Office) -> None:
    channel, release = Recorder(timeout_seconds=0.1), threading.Event()
    channel.work = lambda _notice: _ignore(release.wait(PATIENCE))
    office.add("1")
    lane = office.lane(channel)
    steps(lane)
    assert (channel.tried, office.count("error"), office.waiting) == (["1"], 1, 1)
    office.clock.advance(6)
    steps(lane)  # it still hangs: a second one could tell people twice
    assert channel.tried == ["1"]
    release.set()
    wait_until(lambda: channel.sent == ["1"], "the attempt ends")
    wait_until(lambda: _moved(office, lane), "that is noticed")
    assert (channel.tried, office.count("success")) == (["1"], 1)


def _moved(office: Office, lane: Lane) -> bool:
    office.clock.advance(30)
    steps(lane)
    return office.waiting == 0


def _ignore(_result: object) -> None:
    return None


def test_an_attempt_that_never_ends_is_abandoned(office: Office) -> None:
    channel, release = Recorder(timeout_seconds=0.1), threading.Event()
    channel.work = lambda _notice: _ignore(release.wait(PATIENCE))
    office.add("1")
    lane = office.lane(channel)
    steps(lane)
    channel.work = lambda _notice: None
    office.clock.advance(301)
    steps(lane)
    assert (channel.tried, channel.sent, office.waiting) == (["1", "1"], ["1"], 0)
    release.set()


# -- all channels at once ------------------------------------------------------------------------


def test_one_dead_channel_delays_none(office: Office) -> None:
    release = threading.Event()
    hanging, failing, good = Recorder("hanging"), Recorder("failing"), Recorder("good")
    hanging.work = lambda _notice: _ignore(release.wait(PATIENCE))
    failing.work = fail()
    for channel in (hanging, failing, good):
        office.add("1", "2", "3", channel=channel.name)
    with office.sending(hanging, failing, good):
        wait_until(lambda: good.sent == ["1", "2", "3"], "the good channel has all of them")
        assert hanging.sent == []
        office.add("4", channel="good")
        wait_until(lambda: good.sent == ["1", "2", "3", "4"], "and what comes later")
        release.set()


def test_a_stop_does_not_wait_for_an_attempt_that_hangs(office: Office) -> None:
    channel, release, begun = Recorder(timeout_seconds=300), threading.Event(), threading.Event()

    def work(_notice: Notice) -> None:
        begun.set()
        release.wait(PATIENCE * 2)

    channel.work = work
    office.add("1")
    with office.sending(channel):
        assert begun.wait(PATIENCE)
    # Here the dispatcher has ended, though the attempt still hangs.
    assert (channel.sent, office.waiting) == ([], 1)
    release.set()


def test_an_attempt_that_outlives_a_pause_is_not_doubled_when_the_work_goes_on(office: Office) -> None:
    channel, release, begun = Recorder(timeout_seconds=300), threading.Event(), threading.Event()

    def work(_notice: Notice) -> None:
        begun.set()
        release.wait(PATIENCE)

    channel.work = work
    office.add("1", "2")
    dispatcher = Dispatcher({"team": channel}, office.context)
    for first in (True, False):
        stopping = threading.Event()
        thread = threading.Thread(target=dispatcher.run, args=(stopping,))
        thread.start()
        if first:
            assert begun.wait(PATIENCE)
        else:
            release.set()
            wait_until(lambda: _cleared(office), "both are sent")
        stopping.set()
        thread.join(SOON)
    assert channel.tried == ["1", "2"]


def _cleared(office: Office) -> bool:
    office.clock.advance(10)
    return office.waiting == 0


def test_a_store_that_fails_for_a_while_stops_no_channel(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    channel, failing = Recorder(), True
    look, count = office.store.notices.next, office.store.notices.waiting

    def flaky(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        if failing:
            raise StoreError("no answer")
        return call(*given, **named)

    monkeypatch.setattr(dispatching, "_STORE_SECONDS", 0.01)
    monkeypatch.setattr(office.store.notices, "next", partial(flaky, look))
    monkeypatch.setattr(office.store.notices, "waiting", partial(flaky, count))
    office.add("1")
    with office.sending(channel):
        wait_until(lambda: "channel waits for the store" in caplog.messages, "the complaint")
        failing = False
        wait_until(lambda: channel.sent == ["1"], "the message")
        wait_until(lambda: office.waiting == 0, "its removal")


def test_what_waited_is_sent_after_a_restart(office: Office, tmp_path: Path) -> None:
    dead, alive = Recorder(), Recorder()
    dead.work = fail()
    office.add("1", "2")
    with office.sending(dead):
        wait_until(lambda: bool(dead.tried), "an attempt")
    office.store.close()
    again = Office(SqlStore(f"sqlite:///{tmp_path}/store.db"), FixedClock(NOW))
    again.clock.advance(60)
    with again.sending(alive):
        wait_until(lambda: again.waiting == 0, "all sent")
    assert alive.sent == ["1", "2"]
    again.store.close()


def test_what_waits_for_a_channel_that_is_gone_is_dropped_aloud(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    channel = Recorder()
    office.add("1", "2", channel="old")
    office.add("3")
    with office.sending(channel):
        wait_until(lambda: office.waiting == 0, "nothing waits")
    assert channel.sent == ["3"]
    (line,) = [record for record in caplog.records if "not configured" in record.message]
    assert (line.__dict__["channel"], line.__dict__["dropped"]) == ("old", 2)


def test_what_waits_is_told_to_the_runner_style_metrics(office: Office) -> None:
    channel = Recorder()
    channel.work = fail()

    def rows() -> float:
        families = {family.name: family for family in office.work.collect()}
        return float(families["ci_exporter_report_log_buffer_rows"].samples[0].value)

    office.add("1", "2")
    with office.sending(channel):
        wait_until(lambda: rows() == 2, "both wait")
    assert rows() == 0
