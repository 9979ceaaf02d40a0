"""The configuration while it is being put together: values, where each came from, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from pydantic import BaseModel

from exporter.config import fields
from exporter.config.fields import Loc
from exporter.errors import Problem


class Layer(IntEnum):
    """Who said it; a higher one wins."""

    FILE = 0
    LEGACY = 1
    ENVIRONMENT = 2
    FLAG = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written; ``variable`` is the environment variable, if it was one."""

    layer: Layer
    file: str
    line: int | None = None
    variable: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong at ``loc``. ``soft`` ones do not matter in a block that is switched off."""

    loc: Loc
    problem: Problem
    place: Place | None
    soft: bool = False

    @property
    def order(self) -> tuple[int, int, str]:
        """Sorts findings as a person goes through them: the file from the top, then the rest."""
        place = self.place
        return (place.layer if place else -1, (place.line or 0) if place else 0, self.problem.key)


@dataclass(slots=True)
class Draft:
    """Values of all layers so far, the place of each, and the findings; ``root`` is what may be written."""

    root: type[BaseModel]
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Loc, Place] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def get(self, loc: Loc) -> Any:
        """The value at *loc*, ``None`` when nothing is there."""
        value: Any = self.data
        for step in loc:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def put(self, loc: Loc, value: Any, place: Place) -> None:
        """Set *loc*, over whatever a lower layer said; blocks on the way are made."""
        block = self.data
        for step in loc[:-1]:
            if block.get(str(step)) is None:
                block[str(step)] = {}
            block = block[str(step)]
            if not isinstance(block, dict):
                return  # what the file has there is wrong anyway and will be reported
        self._displace_partner(loc, place)
        block[str(loc[-1])] = value
        self.places = {known: at for known, at in self.places.items() if known[: len(loc)] != loc}
        self.places[loc] = place

    def _displace_partner(self, loc: Loc, place: Place) -> None:
        """A secret takes the place of its ``…_file`` of a lower layer, and the other way round."""
        name, block = str(loc[-1]), self.get(loc[:-1])
        for key in fields.secrets_with_file(fields.at(self.root, loc[:-1])):
            partner = {key: f"{key}_file", f"{key}_file": key}.get(name)
            if partner is None or partner not in block:
                continue
            known = self.place((*loc[:-1], partner))
            if known is not None and known.layer < place.layer:
                del block[partner]

    def place(self, loc: Loc) -> Place | None:
        """Where *loc* was written, or the closest block around it; ``None`` for a default."""
        found = self._placed(loc)
        return None if found is None else self.places[found]

    def _placed(self, loc: Loc) -> Loc | None:
        for depth in range(len(loc), -1, -1):
            if loc[:depth] in self.places:
                return loc[:depth]
        return None

    def report(self, loc: Loc, message: str, *, soft: bool = False, missing: bool = False) -> None:
        """Note what is wrong at *loc*; of a *missing* key the place is only that of its block."""
        loc = fields.outside_secret(self.root, loc)
        placed = self._placed(loc[:-1] if missing else loc)
        place = None if placed is None else self.places[placed]
        key = fields.dotted(loc)
        if place is not None and place.variable and placed is not None and not missing:
            key = fields.dotted((place.variable, *loc[len(placed) :]))
        file, line = (place.file, place.line) if place else (None, None)
        self.findings.append(Finding(loc, Problem(key, message, file, line), place, soft))

    def reported(self, loc: Loc) -> bool:
        """Whether something at *loc* or around it is already known to be wrong."""
        return any(loc[: len(finding.loc)] == finding.loc for finding in self.findings if finding.loc)
