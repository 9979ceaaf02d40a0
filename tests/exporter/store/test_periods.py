"""The numbers of each fortnight and of each eight weeks are those of the runs, whatever happens to these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.contract import Batch, Unit
from exporter.model.runs import RefKind, Status
from exporter.store.periods import SEASON, WIDTH, period_of, start_of
from exporter.store.sql import SqlStore
from exporter.store.tables import metadata
from tests.conftest import START, fresh_database, make_run

WIDTH_US = WIDTH // timedelta(microseconds=1)
NUMBERS = """count(*), count(duration_seconds), coalesce(sum(duration_seconds), 0),
       count(queue_seconds), coalesce(sum(queue_seconds), 0)
FROM runs WHERE NOT deleted"""
TRUTH = {
    "periods": f"""
SELECT unit_id, CAST(floor(created_at * 1.0 / {WIDTH_US}) AS BIGINT), status, source, ref_kind, {NUMBERS}
GROUP BY 1, 2, 3, 4, 5""",
    "seasons": f"""
SELECT unit_id, CAST(floor(created_at * 1.0 / {WIDTH_US * SEASON}) AS BIGINT), status, {NUMBERS}
GROUP BY 1, 2, 3""",
}

runs = st.builds(
    make_run,
    st.integers(1, 6),
    st.sampled_from(Status),
    st.none() | st.integers(0, 4_000_000),
    ref=st.sampled_from(["main", "x"]),
    ref_kind=st.sampled_from(RefKind),
    source=st.sampled_from(["push", "web"]),
    created_at=st.integers(-3, 3).map(lambda n: START + n * WIDTH / 2),
    duration_seconds=st.none() | st.sampled_from([0.0, 0.1, 0.7, 1e6]),
    queue_seconds=st.none() | st.sampled_from([0.0, 0.3]),
    complete=st.booleans(),
)
actions = st.one_of(
    st.tuples(
        st.just("save"),
        st.integers(0, 1),
        st.lists(runs, max_size=5),
        st.lists(st.sampled_from([1, 2, 3, 4, 2, 99]), max_size=3),
    ),
    st.tuples(st.just("prune"), st.integers(-40, 60)),
)


def differences(store: SqlStore) -> list[Any]:
    """Rows that are only in one of the tables, or only in the runs."""
    with store._read() as connection:
        return [found for table in TRUTH for found in _differences(connection, table)]


def _differences(connection: sa.Connection, table: str) -> list[Any]:
    kept = {tuple(row[:-5]): row[-5:] for row in connection.execute(sa.text(f"SELECT * FROM {table}"))}
    true = {tuple(row[:-5]): row[-5:] for row in connection.execute(sa.text(TRUTH[table]))}
    return [
        (table, key, kept.get(key), true.get(key))
        for key in kept.keys() | true.keys()
        if key not in kept or key not in true or not _equal(kept[key], true[key])
    ]


def _equal(kept: Any, true: Any) -> bool:
    """Counts exactly, sums nearly: what was added and taken away again leaves a trace of rounding."""
    exact = all(kept[index] == true[index] for index in (0, 1, 3))
    return exact and all(abs(kept[index] - true[index]) <= 1e-6 for index in (2, 4))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path_factory.mktemp('periods')}/store.db"
        if request.param == "postgresql":
            url = stack.enter_context(fresh_database(request.getfixturevalue("postgres_url")))
        store = SqlStore(url)
        stack.callback(store.close)
        yield store


@pytest.mark.no_cover  # long, through code that smaller tests cover
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(actions, max_size=8))
def test_they_are_true_after_any_saves_retries_deletions_and_prunes(shared: SqlStore, steps: Any) -> None:
    with shared._write() as connection:
        for table in ("periods", "seasons", "latest", "runs", "totals", "units", "targets"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    units = shared.register("t", [Unit("1", "a"), Unit("2", "b")], backfill_days=0, now=START)
    for what, *facts in steps:
        if what == "prune":
            shared.prune(START + timedelta(days=facts[0]))
        else:
            number, saved, deleted = facts
            shared.save(units[number].id, Batch(runs=tuple(saved), deleted_runs=tuple(deleted)), START)
        assert differences(shared) == []


def test_a_period_without_runs_is_no_row(desk: Any, make: Any, sql: Any) -> None:
    desk.save(make.run(1, Status.RUNNING), make.run(2))
    desk.save(make.run(1, end=70))
    for table in TRUTH:
        assert [tuple(row) for row in sql(f"SELECT status, runs FROM {table}")] == [("success", 2)]
    desk.save(deleted_runs=(1, 2, 2))
    assert [sql(f"SELECT * FROM {table}") for table in TRUTH] == [[], []]


def test_a_run_that_comes_back_after_its_deletion_counts_again(desk: Any, make: Any) -> None:
    desk.save(make.run(1))
    desk.save(deleted_runs=(1,))
    desk.save(replace(make.run(1), updated_at=make.at(1000)))
    assert differences(desk.store) == []


def test_a_batch_that_fails_leaves_them_as_they_were(desk: Any, make: Any, sql: Any) -> None:
    desk.save(make.run(1))
    before = sql("SELECT * FROM periods")
    with pytest.raises(Exception, match="created_at"):
        desk.save(make.run(2), make.job(created_at=None, status=Status.RUNNING))
    assert sql("SELECT * FROM periods") == before


@pytest.mark.parametrize("period", [-1, 0, 1, 1460])
def test_a_period_begins_with_its_first_microsecond(period: int) -> None:
    assert period_of(start_of(period)) == period
    assert period_of(start_of(period) - timedelta(microseconds=1)) == period - 1


OLD_TABLES = {"targets", "units", "runs", "latest", "jobs", "totals", "observed"}


def test_they_are_built_from_the_runs_of_an_older_database(
    desk: Any, make: Any, sql: Any, open_store: Any
) -> None:
    old = [make.run(n, created_at=START + n * WIDTH / 3 - timedelta(days=40_000)) for n in range(1, 5)]
    desk.save(*(make.run(n, created_at=START + n * WIDTH / 3) for n in range(5, 12)), *old)
    desk.save(deleted_runs=(5,))
    for table in metadata.tables.keys() - OLD_TABLES:
        sql(f"DROP TABLE {table}")
    for column in (
        "runs DROP COLUMN sha",
        "runs DROP COLUMN commit_title",
        "runs DROP COLUMN number",
        "jobs DROP COLUMN web_url",
    ):
        sql(f"ALTER TABLE {column}")
    sql("ALTER TABLE units DROP COLUMN pruned")
    for name in ("of_unit", "by_created_at", "by_finished_at", "by_duration_seconds", "by_queue_seconds"):
        sql(f"DROP INDEX runs_{name}")
    sql("UPDATE ci_exporter_schema SET version_num = '0002'")
    store = open_store()
    assert differences(store) == []
    assert len(sql("SELECT * FROM periods")) > len(sql("SELECT * FROM seasons")) > 2
