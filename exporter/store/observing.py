"""Events of sources that keep no runs: each adds to its total once, told by a hash of its key.

One that is to be remembered for a time only is so where the told events are, and forgotten with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.contract import Observation
from exporter.store.statements import chunks
from exporter.store.tables import observed
from exporter.store.told import claim_numbers, hashed, known_numbers

_DIGEST_BYTES = 16
_LARGEST = 1e300  # a sum of any number of such is still finite


def unseen(
    connection: Connection, target_id: int, unit_id: int, events: Sequence[Observation]
) -> dict[bytes, Observation]:
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
    numbers = {_number(unit_id, digest): digest for digest, event in fresh.items() if event.remember_until}
    for number in known_numbers(connection, target_id, numbers):
        del fresh[numbers[number]]
    return fresh


def remember(
    connection: Connection, target_id: int, unit_id: int, events: Mapping[bytes, Observation]
) -> None:
    """Note that *events*, by their digest, are in the totals."""
    untils = {digest: event.remember_until for digest, event in events.items()}
    rows = [{"unit_id": unit_id, "digest": digest} for digest, until in untils.items() if until is None]
    if rows:
        connection.execute(sa.insert(observed), rows)
    claim_numbers(
        connection,
        target_id,
        {_number(unit_id, digest): until for digest, until in untils.items() if until is not None},
    )


def _countable(event: Observation) -> bool:
    """Whether the total stays one: NaN and infinity would spoil it for ever, and a counter never falls."""
    smallest = -_LARGEST if event.family.kind == "histogram" else 0
    return smallest <= event.value <= _LARGEST


def _number(unit_id: int, digest: bytes) -> int:
    """What tells an event from all others of its target."""
    return hashed(f"{unit_id}\0".encode() + digest)


def _digest(event: Observation) -> bytes:
    """What tells an event: a family's name cannot hold the separator."""
    text = f"{event.family.name}\0{event.key}"
    # Not "replace": keys that differ in what cannot be written would be one event.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
