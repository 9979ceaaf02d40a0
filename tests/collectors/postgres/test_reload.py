"""What a reload keeps of query files that are as they were, also while their database is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.querylab import QueryLab

Doors = Callable[[bool], None]
LAST = "ci_exporter_query_last_success_timestamp_seconds"


@pytest.fixture
def lab(tmp_path: Path, postgres_database: str) -> Iterator[QueryLab]:
    made = QueryLab(tmp_path, postgres_database)
    made.sql("CREATE TABLE rows AS SELECT 1 AS v")
    yield made
    made.close()


def shared(lab: QueryLab, file: str, metric: str = "shared") -> None:
    one = f"{{metric_name: {metric}, type: gauge, help: h, values: [v], query: SELECT v FROM rows}}"
    lab.file(file, f"collector_name: {file}\nmetrics: [{one}]\n")


def test_a_reload_during_an_outage_keeps_series_for_as_long_as_without_it(
    lab: QueryLab, doors: Doors
) -> None:
    path = lab.metric("m", "SELECT v FROM rows")
    lab.poll()
    last = lab.lines(LAST)
    doors(False)
    lab.clock.advance(100)
    path.write_text(f"# Only a comment, but all is a line further down\n{path.read_text()}")
    lab.reload()
    lab.poll()
    assert lab.failure()
    assert lab.lines("m") == ["m 1.0"]
    assert lab.lines(LAST) == last
    assert lab.succeeding == {"t/m": False}
    lab.clock.advance(80)
    lab.poll()
    assert lab.lines("m") == [], "180 s, three intervals, after the last success"
    doors(True)
    lab.poll()
    assert lab.lines("m") == ["m 1.0"]


@pytest.mark.parametrize(
    "change",
    [{"query": "SELECT v + 1 AS v FROM rows"}, {"help": "another"}, {"static_labels": {"a": "b"}}],
)
def test_what_changed_is_not_kept(lab: QueryLab, doors: Doors, change: dict[str, object]) -> None:
    lab.metric("m", "SELECT v FROM rows")
    lab.poll()
    doors(False)
    lab.metric("m", **{"query": "SELECT v FROM rows", **change})
    lab.reload()
    lab.poll()
    assert lab.lines("m") == []


def test_what_another_server_said_is_not_kept(lab: QueryLab, doors: Doors) -> None:
    lab.metric("m", "SELECT v FROM rows")
    lab.poll()
    doors(False)
    other_user = lab.dsn.replace("//postgres@", "//somebody:else@")
    lab.block["databases"]["t"]["dsn"] = other_user
    lab.reload()
    lab.poll()
    assert lab.lines("m") == ["m 1.0"]
    lab.block["databases"]["t"]["dsn"] = "postgresql://postgres@127.0.0.1:1/other"
    lab.reload()
    lab.poll()
    assert lab.lines("m") == []


def test_a_series_of_two_files_stands_once_after_a_reload(lab: QueryLab) -> None:
    shared(lab, "a")
    shared(lab, "b")
    lab.poll("a")
    lab.poll("b")
    lab.reload()
    lab.poll("b")
    assert lab.lines("shared") == ["shared 1.0"]
    lab.poll("a")
    assert lab.lines("shared") == ["shared 1.0"]


def test_a_file_that_a_reload_brings_does_not_repeat_what_is_shown(lab: QueryLab) -> None:
    shared(lab, "z")
    lab.poll("z")
    shared(lab, "a")
    lab.reload()
    lab.poll("a")
    assert lab.lines("shared") == ["shared 1.0"]
    lab.poll("z")
    assert lab.lines("shared") == ["shared 1.0"]


def test_a_file_that_a_reload_takes_away_leaves_its_series_to_the_others(lab: QueryLab) -> None:
    shared(lab, "a")
    shared(lab, "b")
    lab.poll("a")
    lab.poll("b")
    (lab.folder / "a.collector.yml").unlink()
    lab.reload()
    lab.poll("b")
    assert lab.lines("shared") == ["shared 1.0"]


# -- events that count once ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("SELECT id, v AS amount FROM events", {"values": ["amount"]}),
        ("SELECT id, id AS number, v FROM events ORDER BY id DESC", {"values": ["v"]}),
        ("SELECT id FROM events", {"static_value": 1}),
    ],
)
def test_another_way_to_say_the_value_counts_no_event_again(
    lab: QueryLab, query: str, value: dict[str, object]
) -> None:
    once = {"metrics": {"m_total": {"once_by": ["id"]}}}
    lab.sql("CREATE TABLE events AS SELECT i AS id, 1 AS v FROM generate_series(1, 3) AS i")
    lab.metric("m_total", "SELECT id, v FROM events", values=["v"], extra=once)
    lab.poll()
    assert lab.lines("m_total") == ["m_total 3.0"]
    lab.metric("m_total", query, **value, extra=once)
    lab.reload()
    lab.sql("INSERT INTO events VALUES (4, 1)")
    lab.poll()
    assert lab.lines("m_total") == ["m_total 4.0"]
