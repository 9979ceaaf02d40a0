"""Reading many runs of which some cannot be read: whom a failure concerns, what is put off or left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from exporter.contract import Trouble, Unit, UnitTrouble
from exporter.errors import SourceError, Unauthorized, UnitUnavailable

_AT_MOST = 5  # runs that cannot be read before the rest of the unit is not tried


def concerns_all(error: SourceError) -> bool:
    """Whether *error* would meet any other call of the unit as well, and not just this run."""
    return isinstance(error, (Unauthorized, UnitUnavailable)) or error.retry_after is not None


class Reads(Protocol):
    """What reads one unit, and what the operator should know of it."""

    unit: Unit
    trouble: UnitTrouble | None


@contextmanager
def putting_off(reader: Reads) -> Iterator[None]:
    """In here a failure is told, and left to the next poll: what changed was read already.

    Raises:
        Unauthorized, UnitUnavailable: nothing of the unit may be read.
    """
    try:
        yield
    except (Unauthorized, UnitUnavailable):
        raise
    except SourceError as error:
        detail = f"details or refs are put off: {error}"
        reader.trouble = UnitTrouble(reader.unit.name, Trouble.BAD_DATA, detail)


@contextmanager
def leaving_out(run_id: int, failed: dict[int, SourceError]) -> Iterator[None]:
    """In here, what keeps a run from being read is noted in *failed*, so that others are read.

    Raises:
        SourceError: it concerns all of them, or too many have *failed*.
    """
    try:
        yield
    except SourceError as error:
        if concerns_all(error) or len(failed) >= _AT_MOST:
            raise
        failed[run_id] = error


def raise_for(failed: dict[int, SourceError], noun: str) -> None:
    """Tell at the end of runs, which are called *noun*, that some were left out.

    Raises:
        SourceError: there are any.
    """
    if failed:
        first = next(iter(failed.values()))
        raise SourceError(f"{len(failed)} {noun} could not be read: {first}") from first
