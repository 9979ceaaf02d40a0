"""One round of every collector, without a scheduler: for ``once`` and ``check --online``."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from exporter.errors import ExporterError, SourceError
from exporter.rounds.round import CollectorRounds
from exporter.rounds.visits import UnitState
from exporter.runnermetrics import FetchResult


def run_once(rounds: Sequence[CollectorRounds], *, capacity: int) -> dict[str, list[str]]:
    """Discover and poll everything until nothing new is waiting.

    Returns:
        ``collector -> what went wrong``, empty lists where nothing did.
    """
    failures: dict[str, list[str]] = {one.name: [] for one in rounds}
    with ThreadPoolExecutor(capacity, thread_name_prefix="poll") as pool:
        for one in rounds:
            try:
                states = one.discover()
            except ExporterError as error:
                failures[one.name].append(str(error))
                continue
            failures[one.name] += [text for text in pool.map(_drain, [one] * len(states), states) if text]
            if one.halted:
                failures[one.name] = [one.halted]
    return failures


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
            return f"{state.stored.unit.name} could not be read" + (f": {reason}" if reason else "")
        if visit.wait > 0:
            return None


def first_error(failures: dict[str, list[str]]) -> SourceError | None:
    """All failures as one error, or ``None``."""
    texts = [f"{name}: {text}" for name, found in failures.items() for text in found]
    return SourceError("; ".join(texts)) if texts else None
