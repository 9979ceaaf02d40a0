"""Charts as the numbers of an SVG: one unit wide for each step, stretched by the page to any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter.model.history import Step, Summary
from exporter.model.runs import Status
from exporter.web.status.wording import UNKNOWN, Moment, Wording, duration, many, percent

WIDTH = 10
HEIGHT = 100
_TIMES = (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Shape:
    """What stands for one series: ``kind`` is its class in the style sheet, ``path`` draws all of it."""

    kind: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Hint:
    """What is said of the step at ``x`` when a mouse rests there."""

    x: int
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart; ``scale`` labels its top, middle and bottom."""

    key: str
    title: str
    description: str
    width: int
    scale: tuple[str, str, str]
    shapes: Sequence[Shape]
    hints: Sequence[Hint]


@dataclass(frozen=True, slots=True)
class Row:
    """The numbers of one step, for who cannot see the charts: runs, succeeded, failed, rate, p50, p95."""

    start: Moment
    cells: Sequence[str]


def tabulate(steps: Sequence[Step], words: Wording) -> list[Row]:
    """One row for each step that has runs, the newest first."""
    return [Row(words.moment(one.start), _cells(one.summary)) for one in reversed(steps) if one.summary.total]


def draw(steps: Sequence[Step], words: Wording) -> list[Chart]:
    """Runs, success rate and durations over time."""
    return [_runs(steps, words), _rates(steps, words), _durations(steps, words)]


def _runs(steps: Sequence[Step], words: Wording) -> Chart:
    top = _round_up(max((one.summary.total for one in steps), default=0))
    failed = [_count(one.summary, Status.FAILED) for one in steps]
    good = [_count(one.summary, Status.SUCCESS) for one in steps]
    total = [one.summary.total for one in steps]
    both = [a + b for a, b in zip(failed, good, strict=True)]
    shapes = [
        Shape("bar bad", "failed", _bars([0] * len(steps), failed, top)),
        Shape("bar good", "succeeded", _bars(failed, both, top)),
        Shape("bar other", "other", _bars(both, total, top)),
    ]
    text = f"{many(sum(total), 'run')}, {sum(failed):,} of them failed."
    return _chart("runs", "Runs", text, steps, words, (f"{top:,}", f"{top // 2:,}", "0"), shapes)


def _rates(steps: Sequence[Step], words: Wording) -> Chart:
    values = [one.summary.success_rate for one in steps]
    known = [value for value in values if value is not None]
    text = (
        f"Success / (success + failed): between {percent(min(known))} and {percent(max(known))}."
        if known
        else "No run succeeded or failed in this time."
    )
    shapes = [Shape("line main", "success rate", _line(values, 1))]
    return _chart("rate", "Success rate", text, steps, words, ("100 %", "50 %", "0 %"), shapes)


def _durations(steps: Sequence[Step], words: Wording) -> Chart:
    middle = [one.summary.duration.p50 for one in steps]
    slow = [one.summary.duration.p95 for one in steps]
    longest = max((value for value in [*middle, *slow] if value is not None), default=0)
    top = next((value for value in _TIMES if value >= longest), 0) or -(-int(longest + 1) // 86400) * 86400
    text = (
        f"The longest p95 is {duration(max(known))}."
        if (known := [value for value in slow if value is not None])
        else "No duration is known in this time."
    )
    shapes = [
        Shape("line second", "p95", _line(slow, top)),
        Shape("line main", "p50", _line(middle, top)),
    ]
    return _chart("duration", "Duration", text, steps, words, (duration(top), duration(top / 2), "0"), shapes)


def _chart(
    key: str,
    title: str,
    description: str,
    steps: Sequence[Step],
    words: Wording,
    scale: tuple[str, str, str],
    shapes: Sequence[Shape],
) -> Chart:
    hint = _HINTS[key]
    hints = [
        Hint(number * WIDTH, f"{words.moment(one.start).shown}: {hint(one.summary)}")
        for number, one in enumerate(steps)
    ]
    return Chart(key, title, description, max(len(steps), 1) * WIDTH, scale, shapes, hints)


def _bars(lower: Sequence[float], upper: Sequence[float], top: float) -> str:
    """A column from *lower* to *upper* for each step where they differ."""
    found = ""
    for number, (low, high) in enumerate(zip(lower, upper, strict=True)):
        if high > low:
            left, right = number * WIDTH + 1, (number + 1) * WIDTH - 1
            found += f"M{left} {_y(low, top)}H{right}V{_y(high, top)}H{left}Z"
    return found


def _line(values: Sequence[float | None], top: float) -> str:
    """Through the middles of the steps, interrupted where a value is unknown."""
    parts: list[str] = []
    pen = "M"
    for number, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        # The h0 makes a dot of a value that has no neighbours.
        parts.append(f"{pen}{number * WIDTH + WIDTH // 2} {_y(value, top)}" + ("h0" if pen == "M" else ""))
        pen = "L"
    return "".join(parts)


def _y(value: float, top: float) -> str:
    return f"{HEIGHT - value / top * HEIGHT:.1f}".removesuffix(".0")


def _round_up(count: int) -> int:
    """The least of 2, 4, 10, 20, 40, 100, … that is not below *count*: half of it is whole as well."""
    size = 1
    while True:
        for factor in (2, 4):
            if factor * size >= count:
                return factor * size
        size *= 10
        if size >= count:
            return size


def _count(summary: Summary, status: Status) -> int:
    return summary.counts.get(status, 0)


def _cells(summary: Summary) -> list[str]:
    return [
        f"{summary.total:,}",
        f"{_count(summary, Status.SUCCESS):,}",
        f"{_count(summary, Status.FAILED):,}",
        percent(summary.success_rate),
        duration(summary.duration.p50),
        duration(summary.duration.p95),
    ]


def _told_durations(summary: Summary) -> str:
    if summary.duration.p50 is None:
        return UNKNOWN
    return f"p50 {duration(summary.duration.p50)}, p95 {duration(summary.duration.p95)}"


_HINTS: dict[str, Callable[[Summary], str]] = {
    "runs": lambda summary: f"{many(summary.total, 'run')}, {_count(summary, Status.FAILED):,} failed",
    "rate": lambda summary: percent(summary.success_rate),
    "duration": _told_durations,
}
