"""Colours, thresholds and value mappings, the same on all boards.

The colours are those of Okabe and Ito, which people with any sort of colour blindness can tell apart. Text or
position says the same wherever a colour means something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.models.dashboard import (
    DashboardRegexMapOptions,
    RegexMap,
    Threshold,
    ThresholdsConfig,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

GOOD, WARN, BAD, PLAIN = "#56B4E9", "#E69F00", "#D55E00", "#999999"
STATUS_COLOURS: Mapping[str, str] = {
    "success": GOOD,
    "failed": BAD,
    "canceled": PLAIN,
    "skipped": "#CCCCCC",
    "running": "#009E73",
    "pending": WARN,
    "created": "#F0E442",
    "manual": "#CC79A7",
    "unknown": "#666666",
}
# The numbers by which a timeline shows a status, least first.
STATUS_NUMBERS = tuple(STATUS_COLOURS)
# Words of other families that say how something ended or is.
RESULT_COLOURS: Mapping[str, str] = {
    "passed": GOOD,
    "success": GOOD,
    "task": GOOD,
    "failed": BAD,
    "failure": BAD,
    "error": BAD,
    "pending": WARN,
    "empty": PLAIN,
    "cancelled": PLAIN,
    "skipped": "#CCCCCC",
    "unknown": "#666666",
}
RUNNER_COLOURS: Mapping[str, str] = {
    "online": GOOD,
    "offline": BAD,
    "stale": WARN,
    "never_contacted": PLAIN,
}

Steps = Sequence[tuple[float | None, str]]


def rising(warn: float, bad: float) -> Steps:
    """Steps of a value that is worse the greater it is."""
    return ((None, GOOD), (warn, WARN), (bad, BAD))


def falling(warn: float, bad: float) -> Steps:
    """Steps of a value that is worse the smaller it is."""
    return ((None, BAD), (bad, WARN), (warn, GOOD))


NEUTRAL: Steps = ((None, GOOD),)
AT_LEAST_ONE: Steps = ((None, BAD), (1, GOOD))
ANY_IS_BAD: Steps = ((None, GOOD), (1, BAD))
SUCCESS = falling(0.9, 0.7)


def thresholds(steps: Steps) -> ThresholdsConfig:
    """*steps* as Grafana has them."""
    made = [Threshold(value=value, color=colour) for value, colour in steps]
    return ThresholdsConfig(mode=ThresholdsMode.ABSOLUTE, steps=made)


def words(known: Mapping[str, tuple[str, str]]) -> list[ValueMapping]:
    """A mapping of values to texts and colours."""
    results = {
        value: ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(known.items())
    }
    return [ValueMap(options=results)]


def status_numbers() -> list[ValueMapping]:
    """The mapping of a timeline's numbers to statuses."""
    return words({str(n): (name, STATUS_COLOURS[name]) for n, name in enumerate(STATUS_NUMBERS, 1)})


def statuses() -> list[ValueMapping]:
    """The mapping that colours the words for statuses in a table."""
    return words({name: (name, colour) for name, colour in STATUS_COLOURS.items()})


def yes_no(good: bool) -> list[ValueMapping]:
    """The mapping of 1 and 0; *good* is which of them is as it should be."""
    colours = (GOOD, BAD) if good else (BAD, GOOD)
    return words({"1": ("yes", colours[0]), "0": ("no", colours[1])})


def open_page() -> list[ValueMapping]:
    """The mapping of an address to a word to click on."""
    result = ValueMappingResult(text="open", index=0)
    return [RegexMap(options=DashboardRegexMapOptions(pattern=".+", result=result))]
