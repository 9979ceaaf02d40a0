"""Answers about history that are remembered: asked once for each version, and never longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.contract import Batch, Unit
from exporter.model.history import JobOrder, Wanted
from exporter.model.runs import Status
from exporter.store.remembering import _MOST, RememberedHistory
from exporter.store.sql import SqlStore
from tests.support.fakes import NOW, run
from tests.support.stores import ready_store


class Counting:
    """The history of a store, and what it was asked."""

    def __init__(self, history: Any) -> None:
        self._history = history
        self.asked: list[str] = []

    def __getattr__(self, verb: str) -> Any:
        def ask(*args: Any, **more: Any) -> Any:
            self.asked.append(verb)
            return getattr(self._history, verb)(*args, **more)

        return ask


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = SqlStore(ready_store(tmp_path))
    (unit,) = made.register("fake", [Unit("1", "group/app", default_branch="main")], backfill_days=1, now=NOW)
    made.save(unit.id, Batch(runs=(run(1), run(2, Status.FAILED))), NOW)
    yield made, unit
    made.close()


def test_a_question_is_asked_once_until_something_changes(store: Any) -> None:
    made, unit = store
    counting = Counting(made.history(lambda: {"fake": "fake"}))
    history = RememberedHistory(counting)  # type: ignore[arg-type]
    assert history.summary(Wanted()).total == 2
    assert history.summary(Wanted()).total == 2
    assert history.summary(Wanted(statuses=(Status.FAILED,))).total == 1
    assert counting.asked.count("summary") == 2
    made.save(unit.id, Batch(runs=(run(3),)), NOW)
    assert history.summary(Wanted()).total == 3
    assert counting.asked.count("summary") == 3


def test_every_verb_answers_as_the_history_itself(store: Any) -> None:
    made, _ = store
    history = made.history(lambda: {"fake": "fake"})
    remembered = RememberedHistory(history)
    wanted = Wanted(since=NOW.replace(hour=0), until=NOW.replace(hour=23))
    for _ in range(2):
        assert remembered.version() == history.version()
        assert remembered.runs(wanted, limit=1) == history.runs(wanted, limit=1)
        assert remembered.run("fake", "group/app", 1) == history.run("fake", "group/app", 1)
        assert remembered.timeseries(wanted, 3600) == history.timeseries(wanted, 3600)
        assert remembered.projects(wanted) == history.projects(wanted)
        assert remembered.jobs(wanted, JobOrder.SLOWEST, 5) == history.jobs(wanted, JobOrder.SLOWEST, 5)
        assert remembered.dora(wanted, ["deploy*"]) == history.dora(wanted, ["deploy*"])


def test_what_was_asked_long_ago_is_forgotten(store: Any) -> None:
    made, _ = store
    counting = Counting(made.history(lambda: {"fake": "fake"}))
    history = RememberedHistory(counting)  # type: ignore[arg-type]
    for number in range(_MOST + 1):
        history.summary(Wanted(refs=(f"branch-{number}",)))
    history.summary(Wanted(refs=(f"branch-{_MOST}",)))
    assert counting.asked.count("summary") == _MOST + 1
    history.summary(Wanted(refs=("branch-0",)))
    assert counting.asked.count("summary") == _MOST + 2
