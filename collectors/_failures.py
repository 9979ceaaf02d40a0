"""Reading many runs of which some cannot be read: what a failure concerns, and how many may be left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from exporter.errors import SourceError, Unauthorized, UnitUnavailable

_AT_MOST = 5  # runs that cannot be read before the rest of the unit is not tried


def concerns_all(error: SourceError) -> bool:
    """Whether *error* would meet any other call of the unit as well, and not just this run."""
    return isinstance(error, (Unauthorized, UnitUnavailable)) or error.retry_after is not None


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
