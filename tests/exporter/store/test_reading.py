"""Reading and writing side by side: one state of the database, no lost updates, no slow scans."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from exporter.contract import Batch, Unit
from exporter.model.runs import Status
from exporter.store.sql import SqlStore
from tests.support.stores import ready_store


def test_a_view_is_of_one_moment_whatever_is_saved_meanwhile(
    desk: Any, make: Any, open_store: Callable[[], SqlStore]
) -> None:
    other = make.Desk(open_store(), desk.unit)
    engine = desk.store._engine
    desk.save(make.run(1))
    before = desk.view

    def save_once(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "FROM units" in statement and not other_saved:
            other_saved.append(other.save(make.run(2), make.run(3, Status.RUNNING)))

    other_saved: list[Any] = []
    sa.event.listen(engine, "after_cursor_execute", save_once)
    during = desk.view
    sa.event.remove(engine, "after_cursor_execute", save_once)
    assert other_saved[0].changed == 2
    assert during == before
    assert desk.view.version == before.version + 1
    assert desk.total() == 2


def test_processes_that_register_a_new_target_at_once_agree(
    make: Any, open_store: Callable[[], SqlStore]
) -> None:
    stores = [open_store() for _ in range(4)]
    units = [Unit(f"{n}", f"project {n}") for n in range(20)]

    def register(store: SqlStore) -> list[Any]:
        return store.register("gitlab", units, backfill_days=0, now=make.START)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(register, stores))
    assert all(one == found[0] for one in found)


@pytest.mark.no_cover  # long, through code that smaller tests cover
def test_registering_pruning_and_saving_at_once_neither_fails_nor_loses_a_count(
    make: Any, open_store: Callable[[], SqlStore]
) -> None:
    stores = [open_store(), open_store()]
    units = [Unit(f"{n}", f"project {n}") for n in range(6)]
    ids = [unit.id for unit in stores[0].register("t", units, backfill_days=0, now=make.START)]

    def save(number: int) -> None:
        batch = Batch(runs=(make.run(number, end=10_000 + number),), cursor=str(number))
        stores[number % 2].save(ids[number % 6], batch, make.START)

    def register(number: int) -> None:
        renamed = [Unit(unit.key, f"{unit.name} {number}") for unit in units]
        stores[number % 2].register("t", renamed[:: 1 if number % 2 else -1], backfill_days=0, now=make.START)

    def prune(number: int) -> None:
        stores[number % 2].prune(make.at(number))

    with ThreadPoolExecutor(6) as pool:
        for task in [pool.submit(work, n) for n in range(60) for work in (save, register, prune)]:
            task.result()
    totals = [total for view in stores[0].views(ids) for total in view.totals]
    assert sum(total.value for total in totals if total.family == "ci_pipeline_runs") == 60


def test_unfinished_runs_are_found_without_reading_all(tmp_path: Any, make: Any) -> None:
    store = SqlStore(ready_store(tmp_path))
    asked: list[tuple[str, Any]] = []
    sa.event.listen(store._engine, "after_cursor_execute", lambda *args: asked.append((args[2], args[3])))
    store.known(1).unfinished()
    question = next(one for one in asked if "FROM runs" in one[0])
    with store._engine.connect() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question[0]}", question[1]).all())
    assert "INDEX runs_unfinished (unit_id=? AND status=?)" in plan
    assert "PRIMARY KEY (unit_id=? AND run_id=?)" in plan
    store.close()
