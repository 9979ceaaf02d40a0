"""What may be said beyond sql_exporter's format: values, limits, and which of two wins."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.postgres.overlay import LONGEST, MetricOverlay, Overlay, duration
from exporter.config import fields


def refused(**keys: Any) -> list[tuple[Any, str]]:
    with pytest.raises(ValidationError) as caught:
        Overlay(**keys)
    return [(error["loc"], error["msg"]) for error in caught.value.errors()]


def test_nothing_needs_to_be_said() -> None:
    empty = Overlay()
    assert (empty.interval, empty.schedule, empty.on_null) == (None, None, "skip")
    assert (empty.parameters, empty.metrics) == ({}, {})


@pytest.mark.parametrize(
    ("written", "seconds"), [("30s", 30), ("1h30m", 5400), ("500ms", 0.5), (15, 15), ("15", 15), ("1.5", 1.5)]
)
@pytest.mark.parametrize("key", ["interval", "statement_timeout", "keep_last_for", "debounce"])
def test_durations_are_seconds(key: str, written: object, seconds: float) -> None:
    assert getattr(Overlay.model_validate({key: written}), key) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "5 minutes", "-5s", "1m1h", 0, -1, math.nan, math.inf, "9" * 300 + "s", "101y", LONGEST + 1, "²"],
)
def test_what_is_no_duration(written: object) -> None:
    (found,) = refused(interval=written)
    assert found[0] == ("interval",)


@pytest.mark.parametrize("text", ["9" * 5000 + "s", "9" * 90 + "y", "x"])
def test_a_duration_that_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        duration(text)


@pytest.mark.parametrize("text", ["* * * * *", "*/5 8-18 * * mon-fri", "0 0 1 jan *"])
def test_a_schedule(text: str) -> None:
    assert Overlay(schedule=text).schedule == text


@pytest.mark.parametrize(
    "text", ["", "daily", "* * * *", "* * * * * *", "61 * * * *", "a b c d e", "*/0 * * * *"]
)
def test_what_is_no_schedule(text: str) -> None:
    (found,) = refused(schedule=text)
    assert "a cron expression of five fields" in found[1]


def test_interval_excludes_schedule() -> None:
    (found,) = refused(interval="5m", schedule="* * * * *")
    assert "keep one of them" in found[1]


def test_parameters_are_text() -> None:
    found = Overlay(parameters={"a": 1, "b": 1.5, "c": True, "d": None, "e": "x"}).parameters
    assert found == {"a": "1", "b": "1.5", "c": "true", "d": None, "e": "x"}


@pytest.mark.parametrize("parameters", [{"a": [1]}, {"a b": 1}, {"": 1}, {"1": 1}, [1], "x"])
def test_what_is_no_parameter(parameters: object) -> None:
    assert refused(parameters=parameters)


@pytest.mark.parametrize(
    "keys",
    [
        {"buckets": []},
        {"buckets": [1, 1]},
        {"buckets": [2, 1]},
        {"buckets": [1, math.inf]},
        {"once_by": []},
        {"once_by": ["a", "a"]},
        {"once_by": [""]},
        {"unit": "per cent"},
        {"max_series": 0},
        {"on_null": "drop"},
        {"other": 1},
    ],
)
def test_what_a_metric_refuses(keys: dict[str, Any]) -> None:
    assert refused(metrics={"m": keys})


def test_errors_show_no_values() -> None:
    with pytest.raises(ValidationError) as caught:
        Overlay(max_series="hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


def test_the_upper_one_wins_key_by_key() -> None:
    low = Overlay(
        title="low", interval="1m", parameters={"a": 1, "b": 2}, on_null="zero",
        metrics={"m": {"unit": "seconds", "max_series": 1}, "n": {"counter": True}},
    )  # fmt: skip
    high = Overlay(title=None, parameters={"a": 3}, metrics={"m": {"max_series": 2}, "o": {"unit": "bytes"}})
    both = low.under(high)
    assert (both.title, both.interval, both.on_null, both.parameters) == (None, 60, "zero", {"a": "3"})
    assert both.metrics == {
        "m": MetricOverlay(unit="seconds", max_series=2),
        "n": MetricOverlay(counter=True),
        "o": MetricOverlay(unit="bytes"),
    }
    assert low.under(None) is low


@pytest.mark.parametrize(
    ("high", "rhythm"),
    [
        ({"interval": "5m"}, (300, None)),
        ({"schedule": "0 6 * * *"}, (None, "0 6 * * *")),
        ({"interval": None}, (None, None)),
        ({"title": "x"}, (None, "* * * * *")),
    ],
)
def test_a_rhythm_replaces_the_other_kind(high: dict[str, Any], rhythm: tuple[object, object]) -> None:
    both = Overlay(schedule="* * * * *").under(Overlay(**high))
    assert (both.interval, both.schedule) == rhythm


def test_every_key_is_described() -> None:
    for model in (Overlay, MetricOverlay):
        assert all(info.description for info in fields.keys(model).values())
