"""Who shows a series that several query files bring."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from prometheus_client import Metric

from collectors.postgres.claims import Claims
from exporter.families import Family, Sample, Samples, foreign

M = foreign("m", "gauge", "h", ("k",))
OWN = foreign("own", "gauge", "h", ("k",))


class Pages:
    """Notes what is left out."""

    def __init__(self) -> None:
        self.dropped: list[tuple[Family, str, list[str | None]]] = []

    def note_dropped(self, family: Family, reason: str, series: Sequence[Sample]) -> None:
        self.dropped.append((family, reason, [one.labels[0] for one in series]))

    def swap(self, entity: str, samples: Samples) -> None:
        raise AssertionError

    def drop(self, entity: str) -> None:
        raise AssertionError

    def collect(self) -> Iterator[Metric]:
        raise AssertionError


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def claims(pages: Pages) -> Claims:
    """Of M, which several files feed."""
    return Claims([M], pages)


def settled(claims: Claims, unit: str, *keys: str, family: Family = M) -> list[str | None]:
    """What *unit* may show of the series *keys*."""
    found = claims.settle(unit, {family: [Sample((key,), 1.0) for key in keys]})
    return [sample.labels[0] for sample in found[family]]


def test_the_first_has_it_until_it_shows_it_no_more(claims: Claims, pages: Pages) -> None:
    assert settled(claims, "one", "a", "b") == ["a", "b"]
    assert settled(claims, "two", "b", "c") == ["c"]
    assert pages.dropped == [(M, "duplicate", ["b"])]
    assert settled(claims, "one", "a", "c") == ["a"]
    assert settled(claims, "two", "b", "c") == ["b", "c"]
    assert settled(claims, "one", "b") == []
    assert len(pages.dropped) == 3


def test_a_unit_that_shows_nothing_gives_all_back(claims: Claims, pages: Pages) -> None:
    settled(claims, "one", "a")
    assert claims.settle("one", {}) == {}
    assert settled(claims, "two", "a") == ["a"]
    assert pages.dropped == []


def test_series_of_the_same_unit_are_the_pages_business(claims: Claims, pages: Pages) -> None:
    assert settled(claims, "one", "a", "a") == ["a", "a"]
    assert settled(claims, "two", "a", "a") == []
    assert pages.dropped == [(M, "duplicate", ["a", "a"])]


def test_families_of_one_file_are_not_looked_at(claims: Claims, pages: Pages) -> None:
    for unit in ("one", "two"):
        assert settled(claims, unit, "a", family=OWN) == ["a"]
    assert pages.dropped == []


def test_what_is_given_is_not_changed(claims: Claims) -> None:
    samples = {M: [Sample(("a",), 1.0)]}
    claims.settle("one", samples)
    assert claims.settle("two", samples) == {M: []}
    assert samples == {M: [Sample(("a",), 1.0)]}


def test_of_many_at_once_each_series_has_one_owner(claims: Claims) -> None:
    keys = [str(number) for number in range(300)]
    shown: dict[str, list[str | None]] = {}
    start = threading.Barrier(4)

    def settle(unit: str) -> None:
        start.wait()
        for _ in range(20):
            shown[unit] = settled(claims, unit, *keys)

    threads = [threading.Thread(target=settle, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(key) for owned in shown.values() for key in owned) == sorted(keys)
