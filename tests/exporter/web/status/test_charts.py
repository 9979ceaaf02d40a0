"""The numbers of the charts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from exporter.model.history import Quantiles, Step, Summary
from exporter.model.runs import Status
from exporter.web.status.charts import draw, tabulate
from exporter.web.status.wording import Wording

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WORDS = Wording(UTC, NOW)


def steps(*told: tuple[int, int, int, float | None]) -> list[Step]:
    """Steps of an hour, each of succeeded, failed and canceled runs, and their duration."""
    return [
        Step(
            NOW - timedelta(hours=len(told) - number),
            Summary(
                counts={Status.SUCCESS: good, Status.FAILED: bad, Status.CANCELED: other},
                duration=Quantiles(seconds, seconds and seconds * 2),
            ),
        )
        for number, (good, bad, other, seconds) in enumerate(told)
    ]


def test_runs_stand_on_each_other() -> None:
    runs, _, _ = draw(steps((2, 1, 1, None), (0, 0, 0, None)), WORDS)
    assert runs.scale == ("4", "2", "0")
    assert {shape.name: shape.path for shape in runs.shapes} == {
        "failed": "M1 100H9V75H1Z",
        "succeeded": "M1 75H9V25H1Z",
        "other": "M1 25H9V0H1Z",
    }
    assert runs.width == 20
    assert runs.description == "4 runs, 1 of them failed."
    assert [hint.text for hint in runs.hints] == ["10:00:00: 4 runs, 1 failed", "11:00:00: 0 runs, 0 failed"]


def test_a_line_is_interrupted_where_nothing_is_known() -> None:
    _, rate, _ = draw(steps((1, 0, 0, 1), (1, 1, 0, 1), (0, 0, 3, None), (0, 2, 0, 1)), WORDS)
    assert [shape.path for shape in rate.shapes] == ["M5 0h0L15 50M35 100h0"]
    assert rate.description == "Success / (success + failed): between 0 % and 100 %."
    assert rate.hints[2].text == "10:00:00: –"


def test_durations_have_a_round_scale() -> None:
    _, _, durations = draw(steps((1, 0, 0, 100), (1, 0, 0, 50)), WORDS)
    assert durations.scale == ("5 min", "2 min 30 s", "0")
    assert [shape.name for shape in durations.shapes] == ["p95", "p50"]
    assert durations.description == "The longest p95 is 3 min 20 s."
    assert durations.hints[0].text == "10:00:00: p50 1 min 40 s, p95 3 min 20 s"


def test_days_of_duration_fit_too() -> None:
    _, _, durations = draw(steps((1, 0, 0, 86400 * 1.2)), WORDS)
    assert durations.scale == ("3 d", "1 d 12 h", "0")


@pytest.mark.parametrize("empty", [steps(), steps((0, 0, 0, None))])
def test_nothing_can_be_drawn(empty: list[Step]) -> None:
    for chart in draw(empty, WORDS):
        assert not any(shape.path for shape in chart.shapes)
        assert chart.width == 10
    assert tabulate(empty, WORDS) == []


def test_the_same_as_a_table() -> None:
    (row,) = tabulate(steps((3, 1, 0, 30), (0, 0, 0, None)), WORDS)
    assert row.start.exact == "2026-03-01T10:00:00+00:00"
    assert row.cells == ["4", "3", "1", "75 %", "30 s", "1 min"]


@pytest.mark.parametrize(
    ("count", "top"), [(1, "2"), (2, "2"), (3, "4"), (5, "10"), (11, "20"), (41, "100"), (12345, "20,000")]
)
def test_scales_of_runs_are_round(count: int, top: str) -> None:
    assert draw(steps((count, 0, 0, None)), WORDS)[0].scale[0] == top
