"""Cron expressions: weekdays as cron counts them, in the configured time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from collectors.postgres.cron import Cron
from tests.support.querylab import QueryLab

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


@pytest.mark.parametrize("start", ["17:53", "12:00"])
def test_series_of_a_schedule_are_kept_until_its_third_time_after_the_last_success(
    tmp_path: Path, postgres_database: str, start: str
) -> None:
    def pass_until(instant: datetime) -> None:
        lab.clock.advance((instant - lab.clock.now()).total_seconds())
        lab.poll()

    lab = QueryLab(tmp_path, postgres_database)
    lab.sql("CREATE TABLE rows AS SELECT 1 AS v")
    lab.metric("m", "SELECT v FROM rows", extra={"schedule": "*/5 9-17 * * *"})
    try:
        pass_until(datetime.fromisoformat(f"2026-03-02T{start}Z"))
        pass_until(datetime(2026, 3, 2, 17, 55, tzinfo=UTC))
        lab.sql("DROP TABLE rows")
        for minute, shown in ((0, ["m 1.0"]), (5, ["m 1.0"]), (10, [])):
            pass_until(datetime(2026, 3, 3, 9, minute, tzinfo=UTC))
            assert lab.failure()
            assert lab.lines("m") == shown
    finally:
        lab.close()
