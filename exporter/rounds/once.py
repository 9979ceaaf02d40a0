"""One round of every collector, without a scheduler: for ``once`` and ``check --online``."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from exporter.errors import ExporterError, SourceError
from exporter.rounds.round import CollectorRounds
from exporter.rounds.visits import UnitState
from exporter.runnermetrics import FetchResult


def run_once(rounds: Sequence[CollectorRounds], *, capacity: int) -> dict[str, list[str]]:
    """Discover and poll everything until nothing new is waiting, *capacity* units of each at a time.

    Returns:
        ``collector -> what went wrong``, empty lists where nothing did.
    """
    # Side by side: a source that hangs must not hold up the others as well.
    with ThreadPoolExecutor(len(rounds) or 1, thread_name_prefix="round") as pool:
        try:
            found = list(pool.map(lambda one: _round(one, capacity), rounds))
        except BaseException:
            # Interrupted: what has not begun must not be waited for.
            for one in rounds:
                one.collector.context.stopping.set()
            raise
    return {one.name: failures for one, failures in zip(rounds, found, strict=True)}


def _round(rounds: CollectorRounds, capacity: int) -> list[str]:
    """What went wrong in the round of one collector."""
    try:
        states = rounds.discover()
    except ExporterError as error:
        return [str(error)]
    with ThreadPoolExecutor(capacity, thread_name_prefix=f"poll-{rounds.name}") as pool:
        failures = [text for text in pool.map(lambda state: _drain(rounds, state), states) if text]
    return [rounds.halted] if rounds.halted else failures


def _drain(rounds: CollectorRounds, state: UnitState) -> str | None:
    """Poll one unit until it has no more news; returns what went wrong, if anything did."""
    while True:
        if not rounds.is_current(state):
            return None
        visit = rounds.visit(state)
        if visit is None:
            return None
        if visit.result is FetchResult.ERROR:
            reason = state.error or (state.trouble.detail if state.trouble else "")
            return unreadable(state.stored.unit.name, reason)
        if visit.wait > 0:
            return None


def unreadable(unit: str, reason: str) -> str:
    """How it is told that a unit could not be read."""
    return f"{unit} could not be read" + (f": {reason}" if reason else "")


def first_error(failures: dict[str, list[str]]) -> SourceError | None:
    """All failures as one error, or ``None``."""
    texts = [f"{name}: {text}" for name, found in failures.items() for text in found]
    return SourceError("; ".join(texts)) if texts else None
