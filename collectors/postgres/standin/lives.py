"""What becomes of a pull request: everything is decided when it is opened, and always the same way."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

# Name, share of all pull requests, and the reports that each should have.
PROJECTS = {
    "APIPTM": (3, ("coverage", "tests")),
    "CCL": (6, ("coverage", "security", "tests")),
    "CPC": (2, ("coverage", "tests")),
    "DEMO": (1, ("tests",)),
    "MAP": (4, ("coverage", "security", "tests")),
    "NAP": (2, ("security", "tests")),
    "OCC": (5, ("coverage", "security", "tests")),
    "ONECC": (4, ("coverage", "security", "tests")),
    "SAPP": (3, ("coverage", "tests")),
    "TEST": (1, ("tests",)),
}
KEYS = tuple(PROJECTS)
CHECKS = ("build", "integration", "lint", "unit")
DUE_AFTER = timedelta(minutes=10)
# Open for ever, and one report short: the one that the missing reports of the first hour are about.
FORGOTTEN = 1
_FORGOTTEN_PROJECT, _FORGOTTEN_KIND = "CCL", "security"
_TITLES = ("Fix the flaky test", "Update dependencies", "Speed up start", "Log less", "Handle empty input")


@dataclass(frozen=True, slots=True)
class Life:
    """One pull request from opening to end; reports and checks are ``(name, result, when)``."""

    id: int
    project_id: int
    title: str
    created_at: datetime
    first_review_at: datetime | None
    closed_at: datetime | None
    end: str
    reports: tuple[tuple[str, str, datetime], ...]
    checks: tuple[tuple[str, str, datetime], ...]


def life(number: int, created_at: datetime, *, prompt: bool = False) -> Life:
    """That of pull request *number*; *prompt*: none of its reports is late."""
    draw = random.Random(number)  # noqa: S311
    key = draw.choices(KEYS, [share for share, _ in PROJECTS.values()])[0]
    if number == FORGOTTEN:
        key = _FORGOTTEN_PROJECT
    wait, work = _delay(draw, 35, 1.2), _delay(draw, 60, 1.3)
    merged, reviewed, is_late = draw.random() < 0.85, draw.random() < 0.9, draw.random() < 0.03
    reports = []
    for position, kind in enumerate(PROJECTS[key][1]):
        delay = timedelta(seconds=draw.uniform(60, 480))
        if is_late and position == 0 and not prompt:
            delay += 2 * DUE_AFTER
        result = "passed" if draw.random() < 0.93 else "failed"
        if number != FORGOTTEN or kind != _FORGOTTEN_KIND:
            reports.append((kind, result, created_at + delay))
    checks = [
        (name, check_result(draw), created_at + timedelta(seconds=draw.uniform(40, 600))) for name in CHECKS
    ]
    closed_at = created_at + wait + work
    return Life(
        id=number,
        project_id=KEYS.index(key) + 1,
        title=draw.choice(_TITLES),
        created_at=created_at,
        first_review_at=created_at + wait if merged or reviewed else None,
        closed_at=None if number == FORGOTTEN else closed_at,
        end="merged" if merged else "declined",
        reports=tuple(reports),
        checks=tuple(checks),
    )


def check_result(draw: random.Random) -> str:
    """How a check ends."""
    return "passed" if draw.random() < 0.9 else "failed"


def _delay(draw: random.Random, minutes: float, spread: float) -> timedelta:
    """Mostly about *minutes*, seldom days."""
    return timedelta(minutes=min(max(draw.lognormvariate(math.log(minutes), spread), 8), 14_400))
