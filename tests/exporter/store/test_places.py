"""Who saves waits in line, and leaves connections to all others, however many polls there are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import sqlalchemy as sa

from exporter.contract import Batch, Unit
from exporter.store import sql
from exporter.store.places import Places
from exporter.store.sql import SqlStore
from tests.support.engine import wait_until
from tests.support.fakes import NOW, run

MANY = 30  # more than there are connections


def test_a_place_goes_to_whoever_waits_longest() -> None:
    places, came = Places(2), list[int]()

    def come(number: int) -> None:
        with suppress(ZeroDivisionError), places:
            came.append(number)
            raise ZeroDivisionError  # whatever happens in a place, it becomes free

    waiting = [threading.Thread(target=come, args=(number,)) for number in range(5)]
    with places:
        with places:
            for number, thread in enumerate(waiting, 1):
                thread.start()
                wait_until(lambda number=number: len(places._line) == number, "a place in the line")  # type: ignore[misc]
            assert came == []
        for thread in waiting:
            thread.join()
        assert came == [0, 1, 2, 3, 4]
    with places, places:
        assert not places._line


def test_a_crowd_of_polls_that_save_leaves_connections_to_others(postgres_store: str) -> None:
    store = SqlStore(postgres_store)
    listed = [Unit(str(number), f"group/{number}") for number in range(MANY)]
    units = store.register("t", listed, backfill_days=0, now=NOW)
    saving = store._saving
    assert isinstance(saving, Places)
    engine = sa.create_engine(store._engine.url)  # another process
    with ThreadPoolExecutor(MANY) as polls:
        with engine.connect() as other, other.begin():
            other.execute(sa.text("SELECT * FROM units FOR UPDATE"))
            saves = [polls.submit(store.save, unit.id, Batch(runs=(run(7),)), NOW) for unit in units]
            wait_until(lambda: len(saving._line) + sql._SAVES == MANY, "all in line")
            assert store.position(units[0].id).cursor is None
        assert all(save.result().counted_runs == 1 for save in saves)
    engine.dispose()
    store.close()
