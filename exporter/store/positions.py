"""Where a page of runs ends, as text that only the same list takes back."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Any

from exporter.model.history import BadPosition, SortKey

_LARGEST = 2**63
_LONGEST = 400  # characters of any position that we ever gave


@dataclass(frozen=True, slots=True)
class Place:
    """The last run of a page: its value of the sort key as stored (``None``: it has none), unit and id."""

    value: int | float | None
    unit_id: int
    run_id: int


def write_position(sort: SortKey, descending: bool, place: Place) -> str:
    """The text of *place* in the list of that order."""
    content = json.dumps(
        [sort.value, descending, place.value, place.unit_id, place.run_id], separators=(",", ":")
    )
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def read_position(text: str, sort: SortKey, descending: bool) -> Place:
    """The place that *text* tells.

    Raises:
        BadPosition: it is no text of ours, or of a list in another order.
    """
    if len(text) <= _LONGEST:
        try:
            content = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_"))
        except (ValueError, binascii.Error, RecursionError):
            content = None
        place = _place(content, sort, descending)
        # Written again it must be the same, so that there is one text for one place.
        if place and write_position(sort, descending, place) == text:
            return place
    raise BadPosition("this is no position in this list; begin at its first page")


def _place(content: Any, sort: SortKey, descending: bool) -> Place | None:
    """The place in *content*, if it is one and belongs to the list."""
    match content:
        case [sort.value, bool(direction), value, int(unit_id), int(run_id)]:
            fits = direction is descending and all(
                type(number) is int and abs(number) < _LARGEST for number in (unit_id, run_id)
            )
            return Place(value, unit_id, run_id) if fits and _has_type(value, sort) else None
    return None


def _has_type(value: Any, sort: SortKey) -> bool:
    """Whether *value* can be one of the sort key."""
    if sort is SortKey.CREATED_AT:
        return type(value) is int and abs(value) < _LARGEST
    if sort is SortKey.FINISHED_AT:
        return value is None or (type(value) is int and abs(value) < _LARGEST)
    return value is None or (type(value) is float and math.isfinite(value))
