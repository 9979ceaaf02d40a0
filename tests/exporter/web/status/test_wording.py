"""Times, durations and shares as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from exporter.web.status.wording import Moment, Wording, duration, many, percent

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (-3, "0 s"),
        (0, "0 s"),
        (0.04, "0 s"),
        (4.25, "4.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (252, "4 min 12 s"),
        (3600, "1 h"),
        (3725, "1 h 2 min"),
        (86400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "–"),
        (0, "0 %"),
        (0.0001, "0.1 %"),
        (0.5, "50 %"),
        (0.9234, "92.3 %"),
        (0.9999, "99.9 %"),
        (1, "100 %"),
    ],
)
def test_shares_say_all_and_nothing_only_when_meant(share: float | None, said: str) -> None:
    assert percent(share) == said


def test_one_and_many() -> None:
    assert [many(0, "run"), many(1, "run"), many(1234, "run"), many(2, "branch", "branches")] == [
        "0 runs",
        "1 run",
        "1,234 runs",
        "2 branches",
    ]


@pytest.mark.parametrize(
    ("instant", "shown"),
    [
        (NOW, Moment("13:00:00", "2026-03-01T13:00:00+01:00")),
        (NOW - timedelta(hours=12, seconds=1), Moment("00:59:59", "2026-03-01T00:59:59+01:00")),
        (NOW - timedelta(hours=14), Moment("28 Feb 23:00", "2026-02-28T23:00:00+01:00")),
        (NOW - timedelta(days=365), Moment("2025-03-01 13:00", "2025-03-01T13:00:00+01:00")),
    ],
)
def test_instants_in_the_configured_zone(instant: datetime, shown: Moment) -> None:
    assert Wording(ZoneInfo("Europe/Paris"), NOW).moment(instant) == shown


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-30, "under 1 min"), (59, "under 1 min"), (61, "1 min"), (3 * 3600 + 119, "3 h 1 min")],
)
def test_ages_in_minutes(seconds: float, said: str) -> None:
    assert Wording(UTC, NOW).age(NOW - timedelta(seconds=seconds)) == said
