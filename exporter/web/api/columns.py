"""How answers are described: columns, each with its name, its type, and where its value comes from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exporter.model.runs import RefKind, Status
from exporter.web.api.times import write_instant

Schema = Mapping[str, Any]
Row = dict[str, Any]

COUNT: Schema = {"type": "integer", "minimum": 0}
ID: Schema = {"type": "integer"}
ID_OR_NULL: Schema = {"type": ["integer", "null"]}
NUMBER: Schema = {"type": ["number", "null"]}
PERCENT: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 100}
TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
FLAG: Schema = {"type": "boolean"}
INSTANT: Schema = {"type": "string", "format": "date-time"}
INSTANT_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
STATUS: Schema = {"type": "string", "enum": [status.value for status in Status]}
STATUS_OR_NULL: Schema = {"type": ["string", "null"], "enum": [*(status.value for status in Status), None]}
REF_KIND: Schema = {"type": "string", "enum": [kind.value for kind in RefKind]}


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a record; ``read`` takes it from the record."""

    name: str
    schema: Schema
    description: str
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A kind of record, by the name that it has in the document."""

    name: str
    description: str
    columns: tuple[Column, ...]

    def row(self, record: Any) -> Row:
        """*record* as it is answered."""
        return {column.name: _plain(column.read(record)) for column in self.columns}

    def reference(self) -> Schema:
        """Where the document has the schema."""
        return {"$ref": f"#/components/schemas/{self.name}"}

    def schema(self) -> Schema:
        """What every row conforms to."""
        return {
            "type": "object",
            "description": self.description,
            "required": [column.name for column in self.columns],
            "properties": {
                column.name: {**column.schema, "description": column.description} for column in self.columns
            },
            "additionalProperties": False,
        }


def _plain(value: Any) -> Any:
    """*value* as JSON can hold it: instants as text, and numbers that are none as unknown."""
    if isinstance(value, datetime):
        return write_instant(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def percent(ratio: float | None) -> float | None:
    """0 to 100 for 0 to 1, without the digits that only binary fractions have."""
    return None if ratio is None else round(100 * ratio, 4)


def through(columns: Sequence[Column], record: Callable[[Any], Any], prefix: str = "") -> tuple[Column, ...]:
    """*columns* of what *record* gives; all ``None`` where that is ``None``."""

    def reading(column: Column) -> Callable[[Any], Any]:
        return lambda outer: None if (inner := record(outer)) is None else column.read(inner)

    return tuple(
        Column(prefix + column.name, column.schema, column.description, reading(column)) for column in columns
    )
