"""Events of sources that keep no runs: each adds to its total once, told by a hash of its key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.contract import Observation
from exporter.store.statements import chunks
from exporter.store.tables import observed

_DIGEST_BYTES = 16
_LARGEST = 1e300  # a sum of any number of such is still finite


def unseen(connection: Connection, unit_id: int, events: Sequence[Observation]) -> dict[bytes, Observation]:
    """Those of *events* that can be counted and are in no total yet, each once, by their digest."""
    fresh: dict[bytes, Observation] = {}
    for event in filter(_countable, events):
        fresh.setdefault(_digest(event), event)
    for chunk in chunks(sorted(fresh)):
        known = connection.execute(
            sa.select(observed.c.digest).where(observed.c.unit_id == unit_id, observed.c.digest.in_(chunk))
        )
        for row in known:
            del fresh[bytes(row.digest)]
    return fresh


def remember(connection: Connection, unit_id: int, digests: Iterable[bytes]) -> None:
    """Note that the events of *digests* are in the totals."""
    rows = [{"unit_id": unit_id, "digest": digest} for digest in digests]
    if rows:
        connection.execute(sa.insert(observed), rows)


def _countable(event: Observation) -> bool:
    """Whether the total stays one: NaN and infinity would spoil it for ever, and a counter never falls."""
    smallest = -_LARGEST if event.family.kind == "histogram" else 0
    return smallest <= event.value <= _LARGEST


def _digest(event: Observation) -> bytes:
    """What tells an event: a family's name cannot hold the separator."""
    text = f"{event.family.name}\0{event.key}"
    # Not "replace": keys that differ in what cannot be written would be one event.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
