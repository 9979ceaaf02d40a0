"""Query files on a real PostgreSQL, from their rows to the exposition, while time passes and things break."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from collectors.postgres.standin.demo import demo_source
from collectors.postgres.standin.world import schema
from exporter.app import ConfigSource
from exporter.errors import ConfigError
from exporter.parts import Parts
from exporter.rendering import Format
from exporter.rounds.once import run_once
from exporter.runnermetrics import FetchResult
from exporter.store.sql import SqlStore
from tests.support.querylab import QueryLab, page

SUCCESS, LAST = "ci_exporter_query_success", "ci_exporter_query_last_success_timestamp_seconds"
DURATION, ROWS = "ci_exporter_query_duration_seconds", "ci_exporter_query_rows"
DROPPED = "ci_exporter_series_dropped_total"


@pytest.fixture
def lab(tmp_path: Path, postgres_database: str) -> Iterator[QueryLab]:
    """A lab on an empty database; the store is in memory."""
    made = QueryLab(tmp_path, postgres_database)
    yield made
    made.close()


def two_databases(lab: QueryLab, **labels: dict[str, str]) -> dict[str, Any]:
    files = ["*.collector.yml"]
    return {name: {"dsn": lab.dsn, "files": files, "labels": given} for name, given in labels.items()}


# -- rows come and go ------------------------------------------------------------------------------


def test_a_row_that_disappears_takes_its_series_with_it(lab: QueryLab) -> None:
    lab.sql("CREATE TABLE open (project text, v int)", "INSERT INTO open VALUES ('a', 1), ('b', 2)")
    lab.metric("m", "SELECT * FROM open", key_labels=["project"])
    lab.poll()
    assert lab.lines("m") == ['m{project="a"} 1.0', 'm{project="b"} 2.0']
    lab.sql("DELETE FROM open WHERE project = 'a'", "UPDATE open SET v = 5")
    lab.poll()
    assert lab.lines("m") == ['m{project="b"} 5.0']
    lab.sql("DELETE FROM open")
    lab.poll()
    assert lab.lines("m") == []
    assert lab.value(ROWS, database="t", query="m") == 0
    assert lab.value(SUCCESS, database="t", query="m") == 1


def test_all_queries_of_a_file_see_one_state_of_the_database(lab: QueryLab) -> None:
    one = "SELECT txid_current_snapshot()::text AS s, 1 AS v"
    metrics = [
        {"metric_name": name, "type": "gauge", "help": "h", "key_labels": ["s"], "values": ["v"],
         "query": f"{one}{pause}"}
        for name, pause in (("m1", ", pg_sleep(0.05)"), ("m2", ""))
    ]  # fmt: skip
    lab.file("c", json.dumps({"collector_name": "c", "metrics": metrics}))
    lab.poll()
    (first,), (second,) = lab.lines("m1"), lab.lines("m2")
    assert first.removeprefix("m1") == second.removeprefix("m2")


# -- failures --------------------------------------------------------------------------------------

TWO = """
    collector_name: c
    metrics:
    - {metric_name: good, type: gauge, help: h, values: [v], query: SELECT count(*) AS v FROM beat}
    - {metric_name: bad, type: gauge, help: h, values: [v], key_labels: [k], query: SELECT * FROM gone}
"""


@pytest.fixture
def half(lab: QueryLab) -> QueryLab:
    """A lab with a file of two queries, the table of the second of which has just gone."""
    lab.file("c", TWO)
    lab.sql("CREATE TABLE beat ()", "CREATE TABLE gone (k text, v int)", "INSERT INTO gone VALUES ('a', 7)")
    lab.poll()
    lab.sql("DROP TABLE gone")
    return lab


def test_a_failing_query_keeps_its_series_for_three_intervals_and_others_go_on(half: QueryLab) -> None:
    for beats, left in ((1, ['bad{k="a"} 7.0']), (2, ['bad{k="a"} 7.0']), (3, [])):
        half.sql("INSERT INTO beat DEFAULT VALUES")
        half.poll_all(after=60)
        assert half.lines("bad") == left
        assert half.lines("good") == [f"good {beats}.0"]
    assert half.succeeding == {"t/good": True, "t/bad": False}
    assert 'database t, query bad: relation "gone" does not exist (42P01' in half.failure()
    assert "query good" not in half.failure()


def test_keep_last_for_of_the_file_beats_that_of_the_configuration(half: QueryLab) -> None:
    half.close()
    half.block["keep_last_for"] = "5m"
    half.sql("CREATE TABLE gone (k text, v int)", "INSERT INTO gone VALUES ('a', 7)")
    half.metric("long", "SELECT v FROM gone", extra={"keep_last_for": "10m"})
    half.poll_all()
    half.sql("DROP TABLE gone")
    half.poll_all(after=299)
    assert half.lines("bad", "long") == ['bad{k="a"} 7.0', "long 7.0"]
    half.poll_all(after=1)
    assert half.lines("bad", "long") == ["long 7.0"]
    half.poll_all(after=300)
    assert half.lines("bad", "long") == []


def test_a_failing_query_is_shown_again_as_soon_as_it_succeeds(
    half: QueryLab, caplog: pytest.LogCaptureFixture
) -> None:
    half.poll_all(after=600)
    assert half.lines("bad") == []
    half.sql("CREATE TABLE gone (k text, v int)", "INSERT INTO gone VALUES ('a', 8)")
    with caplog.at_level(logging.INFO):
        half.poll_all(after=60)
    assert half.lines("bad") == ['bad{k="a"} 8.0']
    assert half.failure() == ""
    assert caplog.records[-1].message == "project readable again"
    assert caplog.records[-2].message == "query succeeds again"


def test_a_failure_is_logged_once(half: QueryLab, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(8):
        half.poll_all(after=30)
    failed = [record for record in caplog.records if record.message == "query failed"]
    assert [(record.query, record.file) for record in failed] == [  # type: ignore[attr-defined]
        ("bad", "c.collector.yml")
    ]
    dropped = [record for record in caplog.records if record.message.startswith("series dropped")]
    assert len(dropped) == 1


def test_what_is_told_about_queries(half: QueryLab) -> None:
    def told(family: str, query: str) -> float | None:
        return half.value(family, database="t", query=query)

    first = half.clock.now().timestamp()
    half.poll_all(after=60)
    assert (told(SUCCESS, "good"), told(SUCCESS, "bad")) == (1, 0)
    assert (told(LAST, "good"), told(LAST, "bad")) == (first + 60, first)
    assert (told(ROWS, "good"), told(ROWS, "bad")) == (1, 1)
    duration = told(DURATION, "good")
    assert duration is not None
    assert 0 < duration < 5
    half.restart()
    half.poll_all()
    # What never succeeded has no time and no rows.
    assert (told(SUCCESS, "bad"), told(LAST, "bad"), told(ROWS, "bad")) == (0, None, None)


def test_an_outage_from_begin_to_end(
    lab: QueryLab, doors: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    lab.file("c", TWO)
    lab.sql("CREATE TABLE beat ()", "CREATE TABLE gone (k text, v int)", "INSERT INTO gone VALUES ('a', 7)")
    lab.poll()
    began = lab.clock.now().timestamp()
    doors(False)
    for _ in range(17):
        lab.poll_all(after=10)
    assert lab.lines("good", "bad") == ["good 0.0", 'bad{k="a"} 7.0']
    lab.poll_all(after=10)
    assert lab.lines("good", "bad") == []
    assert lab.succeeding == {"t/good": False, "t/bad": False}
    assert lab.value(LAST, database="t", query="good") == began
    assert lab.failure().startswith("database t cannot be reached: ")
    assert lab.failure().count("cannot be reached") == 1
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert (told.count("poll failed"), told.count("query failed")) == (1, 0), "once, not for each query"
    doors(True)
    lab.poll_all(after=10)
    assert lab.lines("good", "bad") == ["good 0.0", 'bad{k="a"} 7.0']
    assert lab.succeeding == {"t/good": True, "t/bad": True}


def test_a_database_that_is_away_at_the_start_is_no_reason_to_stop(
    lab: QueryLab, doors: Callable[[bool], None]
) -> None:
    lab.metric("m", "SELECT 1 AS v")
    doors(False)
    visit = lab.poll()
    assert visit.result is FetchResult.ERROR
    assert lab.succeeding == {"t/m": False}
    assert "first round" in (lab.rounds.not_ready() or "")
    doors(True)
    lab.poll()
    assert lab.lines("m") == ["m 1.0"]
    assert lab.rounds.not_ready() is None


def test_a_lost_connection_is_retried_soon_and_a_failed_statement_at_its_time(lab: QueryLab) -> None:
    lab.metric("failing", "SELECT nothing", file={"min_interval": "10m"})
    lab.metric(
        "lost", "SELECT pg_terminate_backend(pg_backend_pid())::int AS v", file={"min_interval": "10m"}
    )
    waits = [lab.poll("lost").wait for _ in range(4)]
    assert waits == [2, 4, 8, 16]
    assert lab.poll("lost").at_least == 0
    assert "query lost: the connection was lost" in lab.failure("lost")
    for _ in range(4):
        assert lab.poll("failing").at_least == 600


def test_retries_never_take_longer_than_the_interval(lab: QueryLab, doors: Callable[[bool], None]) -> None:
    lab.metric("m", "SELECT 1 AS v", file={"min_interval": "5s"})
    doors(False)
    assert [lab.poll().wait for _ in range(4)] == [2, 4, 5, 5]


def test_queries_after_a_lost_connection_fail_with_it_and_those_before_do_not(lab: QueryLab) -> None:
    queries = {"before": "1", "breaks": "pg_terminate_backend(pg_backend_pid())::int", "after": "1"}
    metrics = [
        {"metric_name": name, "type": "gauge", "help": "h", "values": ["v"], "query": f"SELECT {sql} AS v"}
        for name, sql in queries.items()
    ]
    lab.file("c", json.dumps({"collector_name": "c", "metrics": metrics}))
    lab.poll()
    assert lab.succeeding == {"t/before": True, "t/breaks": False, "t/after": False}
    assert lab.lines("before", "after") == ["before 1.0"]


def test_a_bad_row_is_left_out_and_named_and_the_others_are_shown(lab: QueryLab) -> None:
    rows = "VALUES ('a', '1'), ('b', 'x'), ('c', '3'), ('d', ''), ('e', 'y'), ('f', 'z')"
    lab.file(
        "c",
        f"""
        collector_name: c
        metrics:
        - {{metric_name: m1, type: gauge, help: h, key_labels: [k], values: [v], query_ref: q}}
        - {{metric_name: m2, type: gauge, help: h, key_labels: [k], static_value: 1, query_ref: q}}
        queries: [{{query_name: q, query: "SELECT * FROM ({rows}) AS rows (k, v)"}}]
        """,
    )
    lab.poll()
    assert lab.lines("m1") == ['m1{k="a"} 1.0', 'm1{k="c"} 3.0']
    # A row that is bad for one metric is shown by none.
    assert lab.lines("m2") == ['m2{k="a"} 1.0', 'm2{k="c"} 1.0']
    assert lab.succeeding == {"t/q": False}
    assert lab.value(ROWS, database="t", query="q") == 6
    assert lab.failure() == (
        "database t, query q: rows left out: column v, row 2: 'x' is not a number;"
        " column v, row 4: '' is not a number; column v, row 5: 'y' is not a number (and 1 more rows)"
    )


def test_the_statement_timeout_of_the_file_beats_that_of_the_configuration(lab: QueryLab) -> None:
    lab.block["statement_timeout"] = "2m"
    lab.metric("slow", "SELECT 1 AS v FROM pg_sleep(90)", extra={"statement_timeout": "200ms"})
    lab.metric("fine", "SELECT setting::int AS v FROM pg_settings WHERE name = 'statement_timeout'")
    began = time.monotonic()
    lab.poll_all()
    assert time.monotonic() - began < 30
    assert lab.succeeding == {"t/slow": False, "t/fine": True}
    assert "took longer than the 0.2 s it is allowed" in lab.failure("slow")
    assert lab.lines("fine") == ["fine 120000.0"]


# -- duplicates ------------------------------------------------------------------------------------


def dropped_logs(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.message.startswith("series dropped; further")]


def test_a_series_that_a_query_gives_twice_is_shown_once_and_counted(
    lab: QueryLab, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "VALUES ('a', 1), ('b', 2), ('a', 3), ('a', 4)"
    lab.metric("m", f"SELECT * FROM ({rows}) AS rows (k, v)", key_labels=["k"])
    lab.poll()
    assert lab.lines("m") == ['m{k="a"} 1.0', 'm{k="b"} 2.0']
    assert lab.value(DROPPED, family="m", reason="duplicate") == 2
    lab.poll()
    assert lab.value(DROPPED, family="m", reason="duplicate") == 4
    (record,) = dropped_logs(caplog)
    assert (record.family, record.reason, record.labels) == ("m", "duplicate", {"k": "a"})


def file_of_m(name: str, query: str, help_: str = "h") -> str:
    metric = {"metric_name": "m", "type": "gauge", "help": help_, "key_labels": ["k"], "values": ["v"],
              "query": query}  # fmt: skip
    return json.dumps({"collector_name": name, "metrics": [metric]})


def test_a_series_of_two_files_is_that_of_the_first_that_shows_it(
    lab: QueryLab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.sql("CREATE TABLE rows (file text, k text, v int)")
    lab.sql("INSERT INTO rows VALUES ('one', 'a', 1), ('two', 'a', 2), ('two', 'b', 3)")
    for name in ("one", "two"):
        lab.file(name, file_of_m(name, f"SELECT k, v FROM rows WHERE file = '{name}'"))
    lab.poll("two")
    lab.poll("one")
    assert lab.lines("m") == ['m{k="a"} 2.0', 'm{k="b"} 3.0']
    assert lab.value(DROPPED, family="m", reason="duplicate") == 1
    (record,) = dropped_logs(caplog)
    assert (record.family, record.labels) == ("m", {"k": "a"})
    lab.sql("DELETE FROM rows WHERE file = 'two' AND k = 'a'")
    lab.poll("two")
    lab.poll("one")
    assert sorted(lab.lines("m")) == ['m{k="a"} 1.0', 'm{k="b"} 3.0']
    assert lab.value(DROPPED, family="m", reason="duplicate") == 1


def test_the_same_series_of_two_databases_without_labels_stands_once(lab: QueryLab) -> None:
    lab.block = {"databases": two_databases(lab, a={}, b={}), "database_label": ""}
    lab.metric("m", "SELECT 1 AS v")
    lab.poll_all()
    assert lab.lines("m") == ["m 1.0"]
    assert lab.value(DROPPED, family="m", reason="duplicate") == 1


# -- labels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({}, ["m 1.0"]),
        ({"database_label": "target"}, ['m{target="t"} 1.0']),
        ({"database_label": ""}, ["m 1.0"]),
        ({"labels": {"env": "prod"}}, ['m{env="prod"} 1.0']),
        ({"labels": {"env": "prod"}, "database_label": "db"}, ['m{db="t",env="prod"} 1.0']),
    ],
)
def test_labels_of_one_database(lab: QueryLab, block: dict[str, Any], expected: list[str]) -> None:
    labels = block.pop("labels", {})
    lab.block = {"databases": two_databases(lab, t=labels), **block}
    lab.metric("m", "SELECT 1 AS v")
    lab.poll()
    assert lab.lines("m") == expected


def test_labels_of_two_databases(lab: QueryLab) -> None:
    lab.metric("m", "SELECT 'x' AS k, 1 AS v", key_labels=["k"])
    lab.block = {"databases": two_databases(lab, a={}, b={"env": "test"})}
    lab.poll_all()
    # A label that only one of them has is left out at the other.
    assert lab.lines("m") == ['m{database="a",k="x"} 1.0', 'm{database="b",env="test",k="x"} 1.0']
    assert lab.succeeding == {"a/m": True, "b/m": True}
    lab.close()
    lab.block["database_label"] = ""
    lab.poll_all()
    assert lab.lines("m") == ['m{k="x"} 1.0', 'm{env="test",k="x"} 1.0']


def test_one_database_that_is_away_does_not_concern_the_others(lab: QueryLab) -> None:
    away = {"dsn": lab.dsn.replace("/test_", "/none_"), "files": ["*.collector.yml"]}
    lab.block = {"databases": {"away": away, **two_databases(lab, here={})}}
    lab.metric("m", "SELECT 1 AS v")
    lab.poll_all()
    assert lab.lines("m") == ['m{database="here"} 1.0']
    assert lab.succeeding == {"away/m": False, "here/m": True}
    assert {state.stored.unit.lane for state in lab.rounds.states()} == {"away", "here"}
    assert "database away cannot be reached" in lab.failure("m", "away")


def test_queries_of_one_name_in_two_files_are_told_apart(lab: QueryLab) -> None:
    for name in ("one", "two"):
        lab.file(name, file_of_m(name, f"SELECT '{name}' AS k, 1 AS v"))
    lab.metric("other", "SELECT 1 AS v")
    lab.poll_all()
    assert lab.succeeding == {"t/one.m": True, "t/two.m": True, "t/other": True}


# -- rhythm ----------------------------------------------------------------------------------------


def test_every_file_has_its_own_interval(lab: QueryLab) -> None:
    lab.block["interval_seconds"] = 45
    lab.metric("usual", "SELECT 1 AS v")
    lab.metric("rare", "SELECT 1 AS v", file={"min_interval": "1h"})
    lab.metric("often", "SELECT 1 AS v", file={"min_interval": "1h"}, extra={"interval": "500ms"})
    waits = {name: lab.poll(name).wait for name in ("usual", "rare", "often")}
    assert waits == {"usual": 45, "rare": 3600, "often": 0.5}
    # Numbers that do not change are no reason to look more rarely.
    assert lab.poll("usual").wait == 45


def at(lab: QueryLab, instant: str) -> None:
    then = datetime.fromisoformat(instant)
    lab.clock.advance((then - lab.clock.now()).total_seconds())
    assert lab.clock.now() == then.astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "schedule", "polled", "next_poll"),
    [
        ("UTC", "0 6 * * *", "2026-03-02T08:00:00+00:00", "2026-03-03T06:00:00+00:00"),
        ("Europe/Warsaw", "0 6 * * *", "2026-03-02T08:00:00+00:00", "2026-03-03T05:00:00+00:00"),
        # Exactly on time, and a little late, is the next day.
        ("Europe/Warsaw", "0 6 * * *", "2026-03-03T05:00:00+00:00", "2026-03-04T05:00:00+00:00"),
        # The night of 29 March 2026 has no 02:30 in Warsaw; 06:00 comes an hour sooner.
        ("Europe/Warsaw", "0 6 * * *", "2026-03-28T06:00:00+00:00", "2026-03-29T04:00:00+00:00"),
        # The night of 25 October 2026 is an hour longer.
        ("Europe/Warsaw", "0 6 * * *", "2026-10-24T06:00:00+00:00", "2026-10-25T05:00:00+00:00"),
        ("Europe/Warsaw", "*/15 * * * mon-fri", "2026-03-06T23:00:00+00:00", "2026-03-08T23:00:00+00:00"),
    ],
)
def test_a_schedule_is_that_of_the_configured_time_zone(
    lab: QueryLab, zone: str, schedule: str, polled: str, next_poll: str
) -> None:
    lab.settings["timezone"] = zone
    lab.metric("m", "SELECT 1 AS v", extra={"schedule": schedule})
    at(lab, polled)
    wait = lab.poll().exactly
    assert wait == (datetime.fromisoformat(next_poll) - datetime.fromisoformat(polled)).total_seconds()


def test_a_schedule_goes_on_at_its_next_time_after_a_failing_statement(lab: QueryLab) -> None:
    lab.metric("m", "SELECT nothing", extra={"schedule": "0 6 * * *"})
    at(lab, "2026-03-03T22:00:00+00:00")
    visit = lab.poll()
    assert (visit.exactly, visit.at_least) == (None, 8 * 3600)
    at(lab, "2026-03-04T06:00:00+00:00")
    assert lab.poll().at_least == 24 * 3600
    assert max(lab.poll().wait for _ in range(9)) < 3600


def test_a_schedule_is_caught_up_with_soon_after_an_outage(
    lab: QueryLab, doors: Callable[[bool], None]
) -> None:
    lab.metric("m", "SELECT 1 AS v", extra={"schedule": "0 6 * * *"})
    lab.poll()
    doors(False)
    lab.clock.advance(86_400)
    waits = []
    for _ in range(12):
        visit = lab.poll()
        assert visit.at_least == 0
        waits.append(visit.wait)
    assert waits[:3] == [2, 4, 8]
    assert max(waits) <= 300
    # Three days, as its interval is one.
    lab.clock.advance(86_400)
    lab.poll()
    assert lab.lines("m") == ["m 1.0"]
    lab.clock.advance(86_400)
    lab.poll()
    assert lab.lines("m") == []


def test_the_session_has_the_configured_time_zone(lab: QueryLab) -> None:
    lab.settings["timezone"] = "Europe/Warsaw"
    lab.metric(
        "m", "SELECT current_setting('TimeZone') AS z, timestamp '2026-07-01 12:00' AS v", key_labels=["z"]
    )
    lab.poll()
    noon = datetime(2026, 7, 1, 10, tzinfo=UTC).timestamp()
    assert lab.value("m", z="Europe/Warsaw") == noon


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_null", "expected", "succeeds"),
    [
        ("skip", ["m 1.0"], True),
        ("zero", ['m{k="b"} 0.0', "m 1.0"], True),
        ("nan", ['m{k="b"} NaN', "m 1.0"], True),
        ("error", ["m 1.0"], False),
    ],
)
def test_null_values(lab: QueryLab, on_null: str, expected: list[str], succeeds: bool) -> None:
    rows = "VALUES ('b', NULL::int), ('', 1)"
    query = f"SELECT * FROM ({rows}) AS rows (k, v)"
    lab.metric("m", query, key_labels=["k"], extra={"on_null": on_null})
    lab.poll()
    assert lab.lines("m") == [line.replace("m 1.0", 'm{k=""} 1.0') for line in expected]
    assert lab.succeeding == {"t/m": succeeds}
    if not succeeds:
        assert "column v, row 1: NULL, and on_null is error" in lab.failure()


def test_numbers_without_an_end(lab: QueryLab) -> None:
    values = {
        "nan": "'NaN'::float8",
        "up": "'Infinity'::float8",
        "down": "'-inf'::text",
        "big": "1e300::float8",
    }
    rows = ", ".join(f"('{name}', ({value})::text)" for name, value in values.items())
    lab.metric("m", f"SELECT * FROM (VALUES {rows}) AS rows (k, v)", key_labels=["k"])
    lab.poll()
    found = {name: lab.value("m", k=name) for name in values}
    assert math.isnan(found.pop("nan") or 0)
    assert found == {"up": math.inf, "down": -math.inf, "big": 1e300}


def test_max_series_cuts_each_metric_and_counts_what_it_cost(
    lab: QueryLab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.sql("CREATE TABLE rows AS SELECT n AS k, n AS v FROM generate_series(1, 5) AS n")
    one = {"type": "gauge", "help": "h", "key_labels": ["k"], "values": ["v"], "query_ref": "q"}
    file = {
        "collector_name": "c",
        "metrics": [{"metric_name": name, **one} for name in ("few", "some", "all_of_them")],
        "queries": [{"query_name": "q", "query": "SELECT * FROM rows ORDER BY k"}],
        "ci_exporter": {
            "max_series": 3,
            "metrics": {"few": {"max_series": 1}, "all_of_them": {"max_series": 5}},
        },
    }
    lab.file("c", json.dumps(file))
    lab.poll()
    assert lab.lines("few") == ['few{k="1"} 1.0']
    assert lab.lines("some") == [f'some{{k="{k}"}} {k}.0' for k in (1, 2, 3)]
    assert len(lab.lines("all_of_them")) == 5
    assert lab.value(DROPPED, family="few", reason="limit") == 4
    assert lab.value(DROPPED, family="some", reason="limit") == 2
    assert lab.value(DROPPED, family="all_of_them", reason="limit") == 0
    lab.poll()
    assert lab.value(DROPPED, family="few", reason="limit") == 8
    records = dropped_logs(caplog)
    assert [(one.family, one.reason, one.labels["k"]) for one in records] == [
        ("few", "limit", "2"),
        ("some", "limit", "4"),
    ]
    # It is no failure of the query, which may well be what somebody wants.
    assert lab.succeeding == {"t/q": True}


def test_values_that_are_counted_into_buckets_anew_by_every_run(lab: QueryLab) -> None:
    lab.sql("CREATE TABLE ages (k text, v float8)", "INSERT INTO ages VALUES ('a', 1), ('a', 9.5), ('b', 5)")
    extra = {"metrics": {"age": {"buckets": [1, 5]}}}
    lab.metric("age", "SELECT * FROM ages ORDER BY v", key_labels=["k"], extra=extra)
    for _ in range(2):
        lab.poll()
        assert lab.lines("age_bucket") == [
            'age_bucket{k="a",le="1.0"} 1.0', 'age_bucket{k="a",le="5.0"} 1.0',
            'age_bucket{k="a",le="+Inf"} 2.0', 'age_bucket{k="b",le="1.0"} 0.0',
            'age_bucket{k="b",le="5.0"} 1.0', 'age_bucket{k="b",le="+Inf"} 1.0',
        ]  # fmt: skip
        assert lab.lines("age_sum", "age_count") == [
            'age_count{k="a"} 2.0', 'age_sum{k="a"} 10.5', 'age_count{k="b"} 1.0', 'age_sum{k="b"} 5.0',
        ]  # fmt: skip
    lab.sql("DELETE FROM ages WHERE k = 'b'")
    lab.poll()
    assert not [line for line in lab.lines("age_bucket", "age_count") if 'k="b"' in line]


EVERYTHING = """
    collector_name: everything
    metrics:
    - {metric_name: plain, type: gauge, help: 'a "help" with \\', values: [v], query: SELECT 1.5 AS v}
    - {metric_name: bare, type: counter, help: h, values: [v], query: SELECT 7 AS v}
    - {metric_name: proper_total, type: counter, help: h, values: [v], query: SELECT 8 AS v}
    - {metric_name: level:of:colons, type: gauge, help: h, values: [v], query: SELECT 1 AS v}
    - {metric_name: stamped, type: gauge, help: h, key_labels: [k], values: [v], timestamp_value: ts,
       query: "SELECT 'a' AS k, 5 AS v, timestamptz '2024-01-02 03:04:05.678+00' AS ts
               UNION ALL SELECT 'b', 6, timestamptz '1969-12-31 23:59:59+00'
               UNION ALL SELECT 'c', 6, NULL"}
    - {metric_name: stamped, type: gauge, help: h, key_labels: [k], values: [v], query: "SELECT 'd' k, 7 v"}
    - {metric_name: sparse, type: gauge, help: h, key_labels: [k], values: [v], query: 'SELECT 1 k, 1 v'}
    - {metric_name: sparse, type: gauge, help: h, key_labels: [z], values: [v], query: 'SELECT 2 z, 2 v'}
    - {metric_name: odd, type: gauge, help: h, key_labels: [k], values: [v],
       query: "SELECT k, 1 AS v
               FROM (VALUES (E'a\\"b'), (E'a\\\\\\\\b'), (E'a\\nb'), ('zażółć 🐘'), ('')) AS t (k)"}
    - {metric_name: wait_seconds, type: gauge, help: h, values: [v], query: SELECT 3 AS v}
    ci_exporter:
      metrics:
        wait_seconds: {unit: seconds, buckets: [1, 5]}
"""


def test_both_formats_can_be_read_and_say_the_same(lab: QueryLab) -> None:
    lab.file("everything", EVERYTHING)
    lab.poll()
    assert lab.failure() == ""
    text = lab.page
    openmetrics = page(lab.text(Format.OPENMETRICS), openmetrics=True)
    # prometheus_client reads the text format as if every counter ended in _total.
    assert lab.lines("bare") == ["bare 7.0"]
    named = {one._replace(name="bare") if one.name == "bare_total" else one for one in text.series}
    assert named == openmetrics.series
    assert len(named) == 19
    assert openmetrics.heads["bare"][0] == "unknown"
    assert text.heads["bare"][0] == "counter"
    assert openmetrics.heads["proper"][0] == text.heads["proper"][0] == "counter"
    assert openmetrics.heads["plain"] == text.heads["plain"] == ("gauge", 'a "help" with \\')
    assert lab.lines("stamped") == [
        'stamped{k="a"} 5.0 1704164645678',
        'stamped{k="b"} 6.0 -1000',
        'stamped{k="d"} 7.0',
    ]
    assert 'stamped{k="a"} 5.0 1704164645.678\n' in lab.text(Format.OPENMETRICS)
    assert lab.lines("sparse") == ['sparse{k="1"} 1.0', 'sparse{z="2"} 2.0']
    odd = {dict(one.labels)["k"] for one in text.series if one.name == "odd"}
    assert odd == {'a"b', "a\\b", "a\nb", "zażółć 🐘", ""}
    collected = {sample.name for metric in lab.parts.registry.collect() for sample in metric.samples}
    assert {one.name for one in named} <= collected


# -- events that count once ------------------------------------------------------------------------

DEPLOYS = "SELECT id, project, seconds, kind FROM deploys ORDER BY id"
SEEN = {"metrics": {"deploys_total": {"once_by": ["id"]}}}
COUNTED: dict[str, Any] = {"key_labels": ["project"], "static_value": 1, "extra": SEEN}


@pytest.fixture
def events(tmp_path: Path, postgres_database: str, store_url: str) -> Iterator[QueryLab]:
    """A lab with a table of deploys, on a store that outlives the process, once of each kind."""
    made = QueryLab(tmp_path, postgres_database, store=store_url)
    made.sql("CREATE TABLE deploys (id serial, project text, seconds float8, kind text DEFAULT 'x')")
    made.sql("INSERT INTO deploys (project, seconds) VALUES ('a', 3), ('a', 30), ('b', 5)")
    yield made
    made.close()


TOTALS = ['deploys_total{project="a"} 2.0', 'deploys_total{project="b"} 1.0']


def test_every_row_counts_once_over_rounds_and_restarts(events: QueryLab) -> None:
    events.metric("deploys_total", DEPLOYS, **COUNTED)
    for _ in range(3):
        events.poll()
        assert events.lines("deploys_total") == TOTALS
    events.restart()
    assert events.rounds.states()
    assert events.lines("deploys_total") == TOTALS, "what is stored is shown before the first poll"
    events.poll()
    assert events.lines("deploys_total") == TOTALS
    events.sql("DELETE FROM deploys", "INSERT INTO deploys (project) VALUES ('b')")
    events.poll()
    assert events.lines("deploys_total") == [TOTALS[0], 'deploys_total{project="b"} 2.0']
    assert "# TYPE deploys_total counter" in events.text()
    assert events.succeeding == {"t/deploys_total": True}


def test_a_process_that_is_killed_while_it_counts_loses_and_doubles_nothing(events: QueryLab) -> None:
    events.metric("deploys_total", DEPLOYS, **COUNTED)
    collector = events.parts.collectors["postgres"]
    state = events.state()
    position: Any = None
    batch = collector.poll(state.stored.unit, position)  # polled, and never saved
    assert len(batch.observations) == 3
    events.restart()
    store = events.parts.store
    unit = events.state().stored
    batch = events.parts.collectors["postgres"].poll(unit.unit, position)
    store.save(unit.id, batch, events.clock.now())  # saved, and never shown
    assert events.lines("deploys_total") == []
    events.restart()
    events.poll()
    assert events.lines("deploys_total") == TOTALS


def test_a_histogram_of_events_goes_on_where_it_was(events: QueryLab) -> None:
    extra = {"metrics": {"took_seconds": {"unit": "seconds", "buckets": [4, 20], "once_by": ["id"]}}}
    events.metric("took_seconds", DEPLOYS, key_labels=["project"], values=["seconds"], extra=extra)
    for _ in range(2):
        events.poll()
        events.restart()
    events.sql("INSERT INTO deploys (project, seconds) VALUES ('a', 4), ('b', NULL)")
    events.poll()
    assert events.lines("took_seconds_bucket")[:3] == [
        'took_seconds_bucket{le="4.0",project="a"} 2.0',
        'took_seconds_bucket{le="20.0",project="a"} 2.0',
        'took_seconds_bucket{le="+Inf",project="a"} 3.0',
    ]
    assert events.value("took_seconds_sum", project="a") == 37
    assert events.value("took_seconds_count", project="b") == 1
    # A row whose value comes later counts then.
    events.sql("UPDATE deploys SET seconds = 9 WHERE seconds IS NULL")
    events.poll()
    assert events.value("took_seconds_count", project="b") == 2
    assert page(events.text(Format.OPENMETRICS), openmetrics=True).series == events.page.series


def test_a_counter_grows_by_the_value_of_each_row_and_never_falls(events: QueryLab) -> None:
    extra = {"metrics": {"seconds_total": {"once_by": ["id"]}}}
    events.metric("seconds_total", DEPLOYS, key_labels=["project"], values=["seconds"], extra=extra)
    events.sql("INSERT INTO deploys (project, seconds) VALUES ('a', -4), ('b', 'NaN')")
    events.poll()
    assert events.lines("seconds_total") == [
        'seconds_total{project="a"} 33.0',
        'seconds_total{project="b"} 5.0',
    ]
    assert "column seconds, row 4: a counter cannot go down" in events.failure()
    # Once counted, a row that changes is what it was.
    events.sql("UPDATE deploys SET seconds = 100")
    events.poll()
    assert events.lines("seconds_total") == [
        'seconds_total{project="a"} 133.0',
        'seconds_total{project="b"} 105.0',
    ]


def test_totals_by_other_labels_begin_anew_and_are_there_again_with_the_old_ones(events: QueryLab) -> None:
    events.metric("deploys_total", DEPLOYS, **COUNTED)
    events.poll()
    events.metric("deploys_total", DEPLOYS, **{**COUNTED, "key_labels": ["project", "kind"]})
    events.restart()
    events.poll()
    assert events.lines("deploys_total") == [
        'deploys_total{kind="x",project="a"} 2.0',
        'deploys_total{kind="x",project="b"} 1.0',
    ]
    # In another order they are the same labels.
    events.metric("deploys_total", DEPLOYS, **{**COUNTED, "key_labels": ["kind", "project"]})
    events.restart()
    events.poll()
    assert events.value("deploys_total", kind="x", project="a") == 2
    assert len(events.lines("deploys_total")) == 2
    events.metric("deploys_total", DEPLOYS, **COUNTED)
    events.restart()
    events.poll()
    assert events.lines("deploys_total") == TOTALS


def test_totals_stay_when_a_second_database_brings_a_label(events: QueryLab) -> None:
    events.metric("deploys_total", DEPLOYS, **COUNTED)
    events.poll()
    events.sql("INSERT INTO deploys (project) VALUES ('a')")
    events.block["databases"] |= two_databases(events, u={"env": "test"})
    events.reload()
    labelled = [line.replace("{", '{database="t",') for line in TOTALS]
    assert events.lines("deploys_total") == labelled
    events.poll_all()
    assert events.value("deploys_total", database="t", project="a") == 3
    assert events.value("deploys_total", database="u", env="test", project="a") == 3
    del events.block["databases"]["u"]
    events.restart()
    events.poll_all()
    assert events.lines("deploys_total") == ['deploys_total{project="a"} 3.0', TOTALS[1]]


def test_totals_of_two_databases_without_labels_stand_once(events: QueryLab) -> None:
    events.block = {"databases": two_databases(events, t={}, u={}), "database_label": ""}
    events.metric("deploys_total", DEPLOYS, **COUNTED)
    for _ in range(2):
        events.poll_all()
        assert events.lines("deploys_total") == TOTALS
    dropped = events.value(DROPPED, family="deploys_total", reason="duplicate")
    assert dropped is not None
    assert dropped >= 2


def test_static_labels_tell_the_totals_of_one_name_apart(events: QueryLab) -> None:
    one = {"metric_name": "deploys_total", "type": "counter", "help": "h", "static_value": 1}
    metrics = [
        {**one, "static_labels": {"speed": "slow"}, "query": "SELECT id FROM deploys WHERE seconds > 4"},
        {**one, "static_labels": {"speed": "any"}, "query": "SELECT id FROM deploys"},
    ]
    file = {"collector_name": "c", "metrics": metrics, "ci_exporter": SEEN}
    events.file("c", json.dumps(file))
    for _ in range(2):
        events.poll()
        assert sorted(events.lines("deploys_total")) == [
            'deploys_total{speed="any"} 3.0',
            'deploys_total{speed="slow"} 2.0',
        ]
        events.restart()


def test_a_row_without_a_key_is_no_event(events: QueryLab) -> None:
    events.metric("deploys_total", "SELECT NULL AS id, 'a' AS project", **COUNTED)
    events.poll()
    assert events.lines("deploys_total") == []
    assert "column id, row 1: NULL tells no event" in events.failure()


def test_max_series_holds_for_totals(events: QueryLab) -> None:
    extra = {"metrics": {"deploys_total": {"once_by": ["id"], "max_series": 1}}}
    events.metric("deploys_total", DEPLOYS, **{**COUNTED, "extra": extra})
    events.poll()
    assert events.lines("deploys_total") == TOTALS[:1]
    dropped = events.value(DROPPED, family="deploys_total", reason="limit")
    assert dropped is not None
    assert dropped >= 1


@pytest.mark.parametrize(("files", "configured", "expected"), [(3, None, 3), (12, None, 10), (3, 2, 2)])
def test_a_slow_file_delays_no_other_of_up_to_ten(
    lab: QueryLab, files: int, configured: int | None, expected: int
) -> None:
    lab.block["databases"]["t"]["max_connections"] = configured
    for number in range(files):
        lab.metric(f"m{number}", "SELECT 1 AS v")
    collector = lab.rounds.collector
    assert {state.stored.unit.lane for state in lab.rounds.states()} == {"t"}
    assert collector.lane_capacity("t") == expected


# -- reloads ---------------------------------------------------------------------------------------


def test_a_reload_keeps_what_did_not_change_and_drops_what_is_gone(lab: QueryLab) -> None:
    lab.sql("CREATE TABLE rows AS SELECT 1 AS v")
    lab.metric("stays", "SELECT v FROM rows")
    gone = lab.metric("goes", "SELECT v FROM rows")
    lab.poll_all()
    gone.unlink()
    lab.metric("comes", "SELECT v FROM rows")
    lab.sql("UPDATE rows SET v = 2")
    lab.reload()
    assert lab.lines("stays", "goes", "comes") == ["stays 1.0"]
    assert "goes" not in lab.text()
    assert lab.succeeding == {"t/stays": True}
    assert {state.stored.unit.key for state in lab.rounds.states()} == {"t/stays", "t/comes"}
    lab.poll_all()
    assert lab.lines("stays", "goes", "comes") == ["comes 2.0", "stays 2.0"]


def test_a_reload_keeps_what_a_file_shows_beside_its_totals(events: QueryLab) -> None:
    events.metric("deploys_total", DEPLOYS, **COUNTED)
    events.poll()
    before = events.lines("deploys_total", "ci_exporter_query_rows")
    events.reload()
    assert events.lines("deploys_total", "ci_exporter_query_rows") == before != TOTALS


def test_a_reload_in_an_outage_costs_no_series_that_was_good(lab: QueryLab) -> None:
    lab.sql("CREATE TABLE rows AS SELECT 1 AS v")
    lab.metric("stays", "SELECT v FROM rows")
    lab.metric("changes", "SELECT v FROM rows")
    lab.poll_all()
    lab.sql("ALTER TABLE rows RENAME TO gone")
    lab.metric("changes", "SELECT v AS v FROM rows")
    lab.reload()
    lab.poll_all(60)
    assert lab.lines("stays", "changes") == ["stays 1.0"], "another query gave other series"
    assert lab.succeeding == {"t/stays": False, "t/changes": False}
    lab.poll_all(180)
    assert lab.lines("stays") == [], "it is as old as before the reload"


def test_a_reload_that_is_refused_changes_nothing(lab: QueryLab) -> None:
    lab.metric("m", "SELECT 1 AS v")
    lab.poll()
    before = lab.text()
    broken = lab.file("broken", "collector_name: broken\nmetrics: []\n")
    with pytest.raises(ConfigError, match=r"broken\.collector\.yml:2: metrics: needs at least one"):
        lab.reload()
    assert _without_times(lab.text()) == _without_times(before)
    lab.poll()
    assert lab.succeeding == {"t/m": True}
    broken.unlink()
    lab.reload()
    assert lab.lines("m") == ["m 1.0"]


def _without_times(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("process_")]


def test_a_metric_that_changes_shows_nothing_until_it_ran(lab: QueryLab) -> None:
    lab.metric("m", "SELECT 1 AS v")
    lab.poll()
    lab.metric("m", "SELECT 1 AS v", help="another")
    lab.reload()
    assert lab.lines("m") == []
    assert "# HELP m " not in lab.text()
    lab.poll()
    assert lab.lines("m") == ["m 1.0"]
    assert "# HELP m another" in lab.text()


# -- the shipped files -----------------------------------------------------------------------------


def test_a_database_url_alone_runs_the_shipped_files(
    postgres_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: QueryLab
) -> None:
    monkeypatch.chdir(tmp_path)
    config = ConfigSource(None, {"DATABASE_URL": postgres_database}, {}).load()
    parts = Parts(config, SqlStore("sqlite://"), lab.clock)
    failed = run_once(parts.rounds, capacity=4)["postgres"]
    assert len(failed) == 8
    for text in failed:
        assert re.search(
            r'database main, query oneclick_pr_\w+: relation "\w+" does not exist \(42P01, line \d+'
            r" of its SQL\); create it, or write its schema before its name",
            text,
        ), text
    lab.sql(schema())
    lab.sql("INSERT INTO projects VALUES (1, 'CCL')")
    lab.sql("INSERT INTO pull_requests (id, project_id, number) VALUES (1, 1, 1)")
    for state in parts.rounds[0].states():
        parts.rounds[0].visit(state)
        assert state.error == ""
    assert parts.registry.get_sample_value("oneclick_pr_open", {"project": "CCL"}) == 1
    parts.close()


PROJECTS = ("APIPTM", "CCL", "CPC", "DEMO", "MAP", "NAP", "OCC", "ONECC", "SAPP", "TEST")


def test_the_demo_shows_the_pull_requests_of_every_project_and_state_in_order(tmp_path: Path) -> None:
    source = demo_source(tmp_path / "demo", moving=False)
    try:
        lab = QueryLab(tmp_path, source.block["databases"]["main"]["dsn"])
        lab.block = dict(source.block)
        text = shipped(lab)
        lab.close()
    finally:
        for process in source.process_ids:
            os.kill(process, signal.SIGTERM)
            os.waitpid(process, 0)
    head, *grid = text
    assert head == [
        "# HELP oneclick_pr_missing_report The number of pull requests in one project with missing reports",
        "# TYPE oneclick_pr_missing_report gauge",
    ]
    assert grid == [
        f'oneclick_pr_missing_report{{pr_state="{state}",project="{project}"}}'
        f" {int((state, project) == ('open', 'CCL'))}"
        for state in ("declined", "merged", "open")
        for project in PROJECTS
    ]


def shipped(lab: QueryLab) -> list[Any]:
    """The head of the missing reports, then their lines."""
    lab.poll_all()
    assert all(lab.succeeding.values())
    assert len(lab.succeeding) == 8
    lines = [line for line in lab.text().splitlines() if "oneclick_pr_missing_report" in line]
    samples = [line for line in lines if line.startswith("oneclick_pr_missing_report{")]
    return [
        [line for line in lines if line.startswith("#")],
        *[re.sub(r" (\d+)\.0$", r" \1", line) for line in samples],
    ]
