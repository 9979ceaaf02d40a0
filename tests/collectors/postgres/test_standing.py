"""What is shown of the queries of one file while they succeed and fail."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from collectors.postgres.families import QUERY_DURATION, QUERY_LAST_SUCCESS, QUERY_ROWS, QUERY_SUCCESS
from collectors.postgres.plan import Job
from collectors.postgres.series import Yield
from collectors.postgres.spec import Query, QueryFile
from collectors.postgres.standing import FileStanding
from exporter.families import Family, Sample, foreign

M = foreign("m", "gauge", "h", ("k",))
KEEP = 100.0


def yielded(value: float, *, problems: tuple[str, ...] = (), bad_rows: int = 0) -> Yield:
    return Yield(1, {M: [Sample(("a",), value)]}, problems=list(problems), bad_rows=bad_rows)


def values(standing: FileStanding, family: Family, query: str = "q") -> list[float]:
    """What is shown of the family, of that query if it is one about queries."""
    about = family is not M
    return [
        float(sample.value)  # type: ignore[arg-type]
        for sample in standing.samples().get(family, ())
        if not about or sample.labels == ("db", query)
    ]


@pytest.fixture
def standing() -> FileStanding:
    """A file of two queries, p and q, that never ran."""
    queries = (Query("p", "SELECT 1"), Query("q", "SELECT 2"))
    file = QueryFile("f", Path("f.collector.yml"), queries, ())
    return FileStanding(Job("db", file, {}, ("p", "q")), KEEP)


def test_of_a_query_that_never_succeeded_only_that_is_known(standing: FileStanding) -> None:
    standing.failed("q", "no", None, 0)
    assert values(standing, QUERY_SUCCESS) == [0]
    assert [values(standing, one) for one in (QUERY_LAST_SUCCESS, QUERY_DURATION, QUERY_ROWS)] == [[], [], []]
    assert M not in standing.samples()


def test_the_last_success_and_its_rows_outlive_failures_and_the_duration_is_that_of_the_last_run(
    standing: FileStanding,
) -> None:
    standing.succeeded("q", yielded(5), 0.25, 10, 1000)
    standing.failed("q", "no", 3.5, 20)
    found = [values(standing, one) for one in (QUERY_SUCCESS, QUERY_LAST_SUCCESS, QUERY_DURATION, QUERY_ROWS)]
    assert found == [[0], [1000], [3.5], [1]]
    # A run that never began took no time.
    standing.failed("q", "away", None, 30)
    assert values(standing, QUERY_DURATION) == [3.5]


def test_series_stay_until_the_last_success_is_too_long_ago(standing: FileStanding) -> None:
    standing.succeeded("q", yielded(5), 1, 10, 1000)
    standing.failed("q", "no", 1, 10 + KEEP - 0.5)
    assert values(standing, M) == [5]
    standing.failed("q", "no", 1, 10 + KEEP)
    assert values(standing, M) == []
    standing.succeeded("q", yielded(6), 1, 500, 1500)
    standing.failed("q", "no", 1, 500 + KEEP - 0.5)
    assert values(standing, M) == [6]


def test_rows_that_are_left_out_make_a_run_fail_but_what_it_gave_is_fresh(standing: FileStanding) -> None:
    standing.succeeded("q", yielded(5), 1, 0, 1000)
    problems = ("column v, row 1: x", "column v, row 2: y")
    standing.succeeded("q", yielded(6, problems=problems, bad_rows=12), 1, 90, 1090)
    assert values(standing, M) == [6]
    assert values(standing, QUERY_SUCCESS) == [0]
    assert values(standing, QUERY_LAST_SUCCESS) == [1000]
    assert standing.errors == [
        "database db, query q: rows left out: column v, row 1: x; column v, row 2: y (and 10 more rows)"
    ]
    standing.failed("q", "no", 1, 90 + KEEP - 1)
    assert values(standing, M) == [6]


def test_what_ails_all_queries_is_said_once(standing: FileStanding) -> None:
    for name in ("p", "q"):
        standing.failed(name, "database db cannot be reached", None, 0)
    assert standing.errors == ["database db cannot be reached"]
    standing.failed("q", "other", None, 0)
    assert standing.errors == ["database db cannot be reached", "other"]
    for name in ("p", "q"):
        standing.succeeded(name, yielded(1), 1, 1, 1)
    assert standing.errors == []


def test_a_family_of_two_queries_has_the_series_of_both_however_often_it_is_asked_for(
    standing: FileStanding,
) -> None:
    standing.succeeded("p", yielded(1), 1, 0, 0)
    standing.succeeded("q", yielded(2), 1, 0, 0)
    for _ in range(3):
        assert values(standing, M) == [1, 2]
    standing.failed("p", "no", 1, KEEP)
    assert values(standing, M) == [2]


def test_another_failure_is_logged_and_the_same_again_is_not(
    standing: FileStanding, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for error in ("one", "one", "two", "one"):
            standing.failed("q", error, 1, 0)
        standing.succeeded("q", yielded(1), 1, 0, 0)
        standing.succeeded("q", yielded(1), 1, 0, 0)
        standing.failed("q", "one", 1, 0)
    logged = [getattr(record, "error", record.message) for record in caplog.records]
    assert logged == ["one", "two", "one", "query succeeds again", "one"]
    assert {(one.database, one.query, one.file) for one in caplog.records} == {  # type: ignore[attr-defined]
        ("db", "q", "f.collector.yml")
    }
