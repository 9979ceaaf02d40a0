"""A question that takes too long is given up, alone; saving goes on meanwhile."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa

from exporter.errors import QuestionTooLong
from exporter.model.history import Wanted
from exporter.store import sql as sql_module
from exporter.store.sql import SqlStore

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(1000)",
}


def ask_endlessly(store: SqlStore) -> None:
    with store._ask() as connection:
        connection.execute(sa.text(ENDLESS[connection.dialect.name]))


def test_a_long_question_is_given_up_and_the_connection_is_as_before(
    store: SqlStore, desk: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_module, "_QUESTION_SECONDS", 0.05)
    for _ in range(6):  # as many as there are places, and more
        with pytest.raises(QuestionTooLong, match="ask about a shorter time"):
            ask_endlessly(store)
    desk.save(make.run(1))
    monkeypatch.undo()
    history = store.history(lambda: {"source-1": "x"})
    assert history.summary(Wanted()).total == 1


@pytest.mark.parametrize("memory", [True, False])
def test_saving_goes_on_while_a_question_is_asked(
    make: Any, store_url: str, memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_module, "_QUESTION_SECONDS", 1.0)
    with ExitStack() as stack:
        store = SqlStore("sqlite://" if memory else store_url)
        stack.callback(store.close)
        unit = store.register("t", [sql_module.Unit("1", "a")], backfill_days=0, now=make.START)[0].id
        asking, ended = threading.Event(), threading.Event()

        def ask() -> None:
            asking.set()
            with pytest.raises(QuestionTooLong):
                ask_endlessly(store)
            ended.set()

        thread = threading.Thread(target=ask)
        thread.start()
        stack.callback(thread.join)
        assert asking.wait(30)
        assert make.Desk(store, unit).save(make.run(1)).changed == 1
    assert ended.is_set()


def test_a_crowd_of_questions_waits_and_is_then_refused(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        for _ in range(sql_module._QUESTIONS):
            stack.enter_context(store._ask())
        monkeypatch.setattr(sql_module, "_QUESTION_SECONDS", 0.05)
        with pytest.raises(QuestionTooLong, match="too many questions"):
            ask_endlessly(store)
        with store._read():
            pass
