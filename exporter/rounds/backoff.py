"""How long to wait before a unit is polled again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from exporter.contract import Schedule
from exporter.runnermetrics import FetchResult

_MAX_SHIFT = 5
_LONG_SHIFT = 30  # of retries, which begin at a second or two
_JITTER = 0.2
_CHANCE = random.Random()  # noqa: S311 - jitter, not a secret


@dataclass(slots=True)
class Backoff:
    """Counts what one unit's polls brought in a row.

    News brings the unit back to the base interval at once; empty polls and errors double the wait, up
    to the maximum. An empty poll of a unit where something is under way (a run, say) does not count as
    idleness: the end of that run is what everybody waits for.
    """

    schedule: Schedule
    empty: int = 0
    errors: int = 0

    def note(self, result: FetchResult, *, busy: bool = False) -> None:
        """Count one poll; a poll that was cut short by a shutdown is not to be noted."""
        if result is FetchResult.ERROR:
            self.errors += 1
        elif result is FetchResult.EMPTY:
            self.empty, self.errors = (1 if busy else self.empty + 1), 0
        else:
            self.empty = self.errors = 0

    @property
    def interval(self) -> float:
        """The wait before jitter, in seconds."""
        if self.errors and self.schedule.retry is not None:
            # Idle before or not: a source that is back is to be noticed soon.
            return min(self.schedule.retry * 2.0 ** min(self.errors - 1, _LONG_SHIFT), self.schedule.maximum)
        count = max(self.empty, self.errors)
        if count <= 1:
            return self.schedule.base
        return min(self.schedule.base * float(1 << min(count - 1, _MAX_SHIFT)), self.schedule.maximum)


def jittered(seconds: float, chance: random.Random = _CHANCE) -> float:
    """*seconds* give or take a fifth, so that units do not poll in step."""
    return seconds * chance.uniform(1 - _JITTER, 1 + _JITTER)
