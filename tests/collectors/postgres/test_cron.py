"""Cron expressions: weekdays as cron counts them, in the configured time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from collectors.postgres.cron import Cron

SUNDAY = datetime(2026, 3, 1, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("0", [8]),  # the 1st itself is not after midnight
        ("7", [8]),
        ("1", [2, 9]),
        ("mon", [2, 9]),
        ("1-5", [2, 3, 4, 5, 6, 9]),
        ("mon-fri", [2, 3, 4, 5, 6, 9]),
        ("fri-mon", [2, 6, 7, 8, 9]),
        ("sun-sat", [2, 3, 4]),
        ("0,3", [4, 8]),
        ("*/2", [3, 5, 7, 8]),
        ("1-5/2", [2, 4, 6, 9]),
        ("*", [2, 3, 4]),
    ],
)
def test_weekdays_are_those_of_cron(field: str, days: list[int]) -> None:
    cron = Cron(f"0 0 * * {field}", UTC)
    found, instant = [], SUNDAY
    for _ in days:
        following = cron.after(instant.replace(second=1))
        assert following is not None
        instant = following
        found.append(instant.day)
    assert found == days


def test_hours_are_those_of_the_zone_and_summer_time_is_kept() -> None:
    cron = Cron("30 6 * * *", ZoneInfo("Europe/Paris"))
    assert cron.after(datetime(2026, 3, 28, 0, tzinfo=UTC)) == datetime(2026, 3, 28, 5, 30, tzinfo=UTC)
    assert cron.after(datetime(2026, 3, 29, 0, tzinfo=UTC)) == datetime(2026, 3, 29, 4, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "* * * *", "* * * * * *", "0 0 * * 8", "0 0 * * x", "61 * * * *", "0 0 * * 1/0"]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="five fields"):
        Cron(text, UTC)
