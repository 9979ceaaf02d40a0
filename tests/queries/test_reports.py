"""What the reports say, on a real PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

Connection = psycopg.Connection[Any]
Run = Callable[[Connection, str], list[tuple[Any, ...]]]
Report = Callable[[str], dict[str, Any]]

PROJECTS = ("APIPTM", "CCL", "CPC", "DEMO", "MAP", "NAP", "OCC", "ONECC", "SAPP", "TEST")
STATES = ("declined", "merged", "open")
GRIDS = {
    "pr_open": (PROJECTS,),
    "pr_closed": (("declined", "merged"), PROJECTS),
    "pr_missing_report": (STATES, PROJECTS),
    "pr_result_report": (STATES, PROJECTS, ("failed", "passed")),
    "pr_check_summary": (STATES, PROJECTS, ("failed", "passed", "pending")),
}
OTHERS = ("pr_oldest_open_age", "pr_time_to_first_review", "pr_time_to_merge")


def test_the_missing_reports_of_the_stand_in_are_the_known_ones(world: Connection, run: Run) -> None:
    expected = [
        (state, project, int((state, project) == ("open", "CCL"))) for state in STATES for project in PROJECTS
    ]
    assert run(world, "pr_missing_report") == expected


@pytest.mark.parametrize("name", GRIDS)
def test_every_combination_has_a_row_in_the_order_of_the_exposition(
    world: Connection, run: Run, name: str
) -> None:
    assert [row[:-1] for row in run(world, name)] == list(itertools.product(*GRIDS[name]))


@pytest.mark.parametrize("name", GRIDS)
def test_projects_without_pull_requests_are_all_zeros(database: Connection, run: Run, name: str) -> None:
    with database.cursor() as cursor:
        cursor.executemany("INSERT INTO projects VALUES (%s, %s)", list(enumerate(reversed(PROJECTS))))
    assert run(database, name) == [(*labels, 0) for labels in itertools.product(*GRIDS[name])]


@pytest.mark.parametrize("name", [*GRIDS, *OTHERS])
def test_an_empty_database_gives_no_rows(database: Connection, run: Run, name: str) -> None:
    assert run(database, name) == []


def test_the_schema_can_be_made_twice(database: Connection, queries: Path) -> None:
    database.execute((queries / "schema.sql").read_bytes())


def test_everything_in_the_schema_has_a_comment(database: Connection) -> None:
    silent = database.execute(
        b"""SELECT attrelid::regclass, attname FROM pg_attribute
            WHERE attnum > 0 AND attrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r'
                AND relnamespace = 'public'::regnamespace)
            AND (col_description(attrelid, attnum) IS NULL OR obj_description(attrelid) IS NULL)"""
    ).fetchall()
    assert silent == []


def test_open_and_closed_today_are_counted(database: Connection, run: Run, add: Callable[..., int]) -> None:
    for _ in range(2):
        add("B")
    add("A", "merged", closed_at="now()")
    add("A", "declined", closed_at="now()")
    add("A", "merged", "now() - interval '3 days'", closed_at="now() - interval '2 days'")
    assert run(database, "pr_open") == [("A", 0), ("B", 2)]
    assert run(database, "pr_closed") == [
        ("declined", "A", 1), ("declined", "B", 0), ("merged", "A", 1), ("merged", "B", 0)
    ]  # fmt: skip


def test_reports_and_checks_are_counted_for_what_is_open_or_closed_today(
    database: Connection, run: Run, add: Callable[..., int]
) -> None:
    open_, today = add("A"), add("A", "merged", closed_at="now()")
    before = add("A", "merged", "now() - interval '3 days'", closed_at="now() - interval '2 days'")
    for pull_request in (open_, today, before):
        for kind, result in (("tests", "passed"), ("coverage", "passed"), ("security", "failed")):
            database.execute(b"INSERT INTO reports VALUES (%s, %s, %s)", (pull_request, kind, result))
        for name, result in (("build", "passed"), ("lint", "pending")):
            database.execute(b"INSERT INTO checks VALUES (%s, %s, %s)", (pull_request, name, result))
    reports = {row[:-1]: row[-1] for row in run(database, "pr_result_report")}
    checks = {row[:-1]: row[-1] for row in run(database, "pr_check_summary")}
    for state, there in (("open", 1), ("merged", 1), ("declined", 0)):
        assert reports[state, "A", "passed"] == 2 * there
        assert reports[state, "A", "failed"] == there
        assert checks[state, "A", "passed"] == checks[state, "A", "pending"] == there
        assert checks[state, "A", "failed"] == 0


def test_a_report_is_missing_when_it_is_expected_and_due(
    database: Connection, run: Run, add: Callable[..., int]
) -> None:
    hour_ago = "now() - interval '1 hour'"
    complete, late, fresh = add("A", opened=hour_ago), add("A", opened=hour_ago), add("A")
    merged = add("A", "merged", hour_ago, closed_at="now()")
    add("A", "merged", "now() - interval '3 days'", closed_at="now() - interval '2 days'")
    add("B", opened=hour_ago)  # of which nothing is expected
    database.execute(
        b"""INSERT INTO expected_reports SELECT id, kind, '30 min'
            FROM projects CROSS JOIN (VALUES ('tests'), ('coverage')) AS kinds (kind) WHERE key = 'A'"""
    )
    arrived = ((complete, "tests"), (complete, "coverage"), (late, "tests"), (merged, "other"))
    for pull_request, kind in arrived:
        database.execute(b"INSERT INTO reports VALUES (%s, %s, 'failed')", (pull_request, kind))
    found = {row[:-1]: row[-1] for row in run(database, "pr_missing_report") if row[-1]}
    assert found == {("open", "A"): 1, ("merged", "A"): 1}
    database.execute(f"UPDATE pull_requests SET created_at = {hour_ago} WHERE id = {fresh}".encode())
    found = {row[:-1]: row[-1] for row in run(database, "pr_missing_report") if row[-1]}
    assert found == {("open", "A"): 2, ("merged", "A"): 1}


def test_the_day_begins_at_midnight_of_the_sessions_time_zone(
    database: Connection, run: Run, add: Callable[..., int]
) -> None:
    counts = {}
    with database.transaction():  # in which now() stands still
        for hours in range(24):
            closed = f"now() - interval '{hours} hours'"
            add("A", "merged", closed, closed_at=closed)
        for zone in ("UTC", "Pacific/Auckland", "America/St_Johns"):
            database.execute(f"SET LOCAL TIME ZONE '{zone}'".encode())
            expected = database.execute(
                b"SELECT count(*) FROM pull_requests WHERE closed_at::date = now()::date"
            ).fetchone()
            assert expected is not None
            counts[zone] = run(database, "pr_closed")[1][-1]
            assert (counts[zone],) == expected
    assert counts["UTC"] != counts["Pacific/Auckland"]


def test_the_age_is_that_of_the_oldest_and_only_where_one_is_open(
    database: Connection, run: Run, add: Callable[..., int]
) -> None:
    add("A", opened="now() - interval '1 hour'")
    add("A", opened="now() - interval '2 days'")
    add("B", "merged", "now() - interval '9 days'", closed_at="now()")
    ((project, seconds),) = run(database, "pr_oldest_open_age")
    assert project == "A"
    assert 172_800 <= seconds < 172_860


def test_times_are_those_of_the_data_newest_first(
    database: Connection, run: Run, add: Callable[..., int]
) -> None:
    opened = "now() - interval '10 hours'"
    review = {"first_review_at": "now() - interval '9 hours'"}
    add("A", "merged", opened, closed_at="now() - interval '4 hours'", **review)
    add("A", "merged", opened, closed_at="now() - interval '150 minutes'")
    add("B", "declined", opened, closed_at="now()", first_review_at="now() - interval '599 minutes'")
    add("B", opened=opened)
    old = "now() - interval '8 days'"
    add("B", "merged", old, closed_at=old, first_review_at=old)
    assert run(database, "pr_time_to_merge") == [("A", 27_000), ("A", 21_600)]
    assert run(database, "pr_time_to_first_review") == [("A", 3600), ("B", 60)]


@pytest.mark.parametrize("name", ["pr_time_to_first_review", "pr_time_to_merge"])
def test_events_are_told_apart_by_columns_that_are_unique_and_never_null(
    world: Connection, report: Report, name: str
) -> None:
    file = report(name)
    (additions,) = file["ci_exporter"]["metrics"].values()
    cursor = world.execute(file["metrics"][0]["query"].encode())
    assert cursor.description is not None
    places = [[column.name for column in cursor.description].index(key) for key in additions["once_by"]]
    keys = [tuple(row[place] for place in places) for row in cursor]
    assert len(keys) > 1000
    assert len(set(keys)) == len(keys)
    assert not any(None in key for key in keys)


def test_the_time_to_merge_of_the_stand_in_is_that_of_its_pull_requests(world: Connection, run: Run) -> None:
    with world.transaction():  # in which now() stands still
        stored = world.execute(
            b"""SELECT key, extract(epoch FROM closed_at) - extract(epoch FROM created_at)
                FROM pull_requests JOIN projects ON projects.id = project_id
                WHERE state = 'merged' AND closed_at >= now() - interval '1 week' ORDER BY 1, 2"""
        ).fetchall()
        assert sorted(run(world, "pr_time_to_merge")) == stored
