"""Quantiles of many runs are exact, though only a few of their values are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from exporter.contract import Batch, Unit
from exporter.model.history import Quantiles, Summary, Wanted
from exporter.store import quantiles
from exporter.store.sql import SqlStore
from tests.conftest import START, make_run

COUNT = 1_000
VALUES: dict[str, Callable[[int], float | None]] = {
    "all different": lambda number: number * 7919 % COUNT + 0.1,
    "few different": lambda number: float(number * 7919 % 3),
    "equal": lambda number: 0.0,
    "unknown": lambda number: None,
    "few known": lambda number: float(number) if number < 3 else None,
    "other ones in the sample": lambda number: 9.0 if number % quantiles._SAMPLED == 0 else number / COUNT,
}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What came of looking at a sample, which is done of few runs as well."""
    found: list[Any] = []

    def look(*asked: Any) -> Any:
        found.append(of_sample(*asked))
        return found[-1]

    of_sample = quantiles._of_sample
    monkeypatch.setattr(quantiles, "_of_sample", look)
    monkeypatch.setattr(quantiles, "_MANY", 0)
    return found


def summary(url: str, duration: Callable[[int], float | None]) -> Summary:
    """That of COUNT runs, which waited one second and took *duration* of their number."""
    with closing(SqlStore(url)) as store:
        (unit,) = store.register("t", [Unit("1", "a")], backfill_days=0, now=START)
        runs = [make_run(n, duration_seconds=duration(n), queue_seconds=1.0) for n in range(COUNT)]
        for first in range(0, COUNT, 500):
            store.save(unit.id, Batch(runs=tuple(runs[first : first + 500])), START)
        wanted = Wanted(since=START - timedelta(days=1), until=START + timedelta(days=1))
        return store.history(lambda: {"t": "gitlab"}).summary(wanted)


def exact(values: Sequence[float]) -> Quantiles:
    return Quantiles(*(sorted(values)[quantiles.rank(share, len(values))] for share in (0.5, 0.95)))


@pytest.mark.parametrize("kind", VALUES)
def test_they_are_those_of_all_values(kind: str, sqlite_url: str, looks: list[Any]) -> None:
    known = [value for n in range(COUNT) if (value := VALUES[kind](n)) is not None]
    found = summary(sqlite_url, VALUES[kind])
    assert found.duration == (exact(known) if known else Quantiles())
    assert found.queue_duration == Quantiles(1.0, 1.0)
    assert [look is None for look in looks] == [kind == "other ones in the sample"]


def test_the_rank_is_the_least_value_that_the_share_does_not_exceed() -> None:
    assert [quantiles.rank(0.5, count) for count in (1, 2, 3, 4)] == [0, 0, 1, 1]
    assert [quantiles.rank(0.95, count) for count in (1, 20, 21, 100)] == [0, 18, 19, 94]
