"""What a visitor may write into the address of the status page, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from exporter.model.history import Wanted
from exporter.model.runs import Status
from exporter.web.status.filters import RANGES, Filters, exactly, read

NOW = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)


def test_nothing_asked_for_is_everything_of_the_last_24_hours() -> None:
    filters, notices = read("")
    assert (filters, list(notices)) == (Filters(), [])
    assert filters.range.name == "24h"
    assert not filters.narrowed
    assert filters.wanted() == Wanted()


def test_every_filter_reaches_the_question() -> None:
    filters, notices = read(
        "range=7d&project=acme/*&ref=ma%3Fn&status=failed&source=push&provider=gitlab&after=xyz"
    )
    assert not notices
    assert filters.narrowed
    assert filters.after == "xyz"
    assert filters.wanted(NOW, NOW) == Wanted(
        since=NOW,
        until=NOW,
        providers=("gitlab",),
        projects=("acme/*",),
        refs=("ma?n",),
        statuses=(Status.FAILED,),
        sources=("push",),
    )
    assert filters.place() == Wanted(providers=("gitlab",), projects=("acme/*",))


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("range=99h", "There is no range “99h”, only 24h, 7d, 30d: this is the last 24 hours."),
        ("status=<b>", "There is no status “<b>”: runs of every status are shown."),
        ("project=a&project=b", "The filter project is given more than once: the first one is used."),
        ("ref=" + "x" * 256, "The filter ref is longer than 255 characters and is not used."),
        ("source=a%00b", "The filter source holds a NUL character and is not used."),
        ("&".join(["a=b"] * 51), "The address holds more than 50 filters: none of them is used."),
    ],
)
def test_what_makes_no_sense_is_left_out_with_a_sentence(query: str, says: str) -> None:
    filters, notices = read(query)
    assert list(notices) == [says]
    assert filters == (Filters(project="a") if "project" in query else Filters())


def test_what_others_add_to_an_address_is_ignored() -> None:
    assert read("utm_source=mail&project=&ref=+") == (Filters(), [])


@pytest.mark.parametrize("name", ["acme/app", "a[b]*?", "<b>&amp;\"'", "עברית/🚀", "a b+c%2F"])
def test_a_link_to_one_project_means_it_and_no_other(name: str) -> None:
    query = Filters(ref="main", after="x").query(project=exactly(name))
    found, notices = read(query.removeprefix("?"))
    assert not notices
    assert (found.ref, found.after) == ("main", "")
    assert fnmatchcase(name, found.project)
    assert not fnmatchcase(name + "x", found.project)


def test_a_link_holds_only_what_differs_from_the_default() -> None:
    assert Filters().query() == "?"
    assert Filters(range=RANGES["30d"], status=Status.FAILED).query(project="é") == (
        f"?range=30d&project={quote('é')}&status=failed"
    )


@pytest.mark.parametrize(
    ("name", "zone", "since", "until"),
    [
        ("24h", "UTC", "2026-02-28T13:00", "2026-03-01T13:00"),
        ("7d", "UTC", "2026-02-22T18:00", "2026-03-01T18:00"),
        ("30d", "UTC", "2026-01-31T00:00", "2026-03-02T00:00"),
        ("30d", "America/New_York", "2026-01-31T05:00", "2026-03-02T05:00"),
        ("7d", "Asia/Kolkata", "2026-02-22T18:30", "2026-03-01T18:30"),
    ],
)
def test_a_range_ends_with_the_step_that_is_under_way(name: str, zone: str, since: str, until: str) -> None:
    begin, end = RANGES[name].window(NOW, ZoneInfo(zone))
    assert (begin, end) == (
        datetime.fromisoformat(since).replace(tzinfo=UTC),
        datetime.fromisoformat(until).replace(tzinfo=UTC),
    )
    assert begin.utcoffset() == timedelta(0)
