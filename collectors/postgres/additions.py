"""What a query file says under ``ci_exporter:``, with what the configuration adds to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from collectors.postgres.document import Items, Loc, Scalar, Step, Table, Value
from collectors.postgres.overlay import MetricOverlay, Overlay
from collectors.postgres.reading import Block, Problems, unknown

KEY = "ci_exporter"
_SENTENCES = {
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping (key: value)",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of usual size",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "mapping_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "string_pattern_mismatch": "must be a name of letters, digits and _",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "must be text",
    "too_short": "must not be empty",
    "tuple_type": "must be a list, such as [a, b]",
}


class Additions:
    """The ``overlay`` in effect, and where each of its keys was written."""

    def __init__(self, root: Block, problems: Problems, name: str, configured: Overlay | None) -> None:
        self._problems, self._name, self._configured = problems, name, configured
        self._table = root.table
        value = root.table.items.get(KEY)
        if value is not None and not isinstance(value, Table) and root.has(KEY):
            root.report(KEY, "must be a mapping (key: value)")
        self.overlay = self._own(value).under(configured)

    def report(self, loc: Loc, message: str) -> None:
        """Note *message* about what the overlay says at *loc*, under the file or the configuration."""
        if self._configured is not None and _says(self._configured, loc):
            self._problems.add(("collectors", "postgres", "overlays", self._name, *loc), None, message)
        else:
            self._report_own(loc, message)

    def metric(self, name: str) -> MetricOverlay:
        """The additions to the metric *name*."""
        return self.overlay.metrics.get(name) or MetricOverlay()

    def _own(self, value: Value | None) -> Overlay:
        if not isinstance(value, Table):
            return Overlay()
        try:
            return Overlay.model_validate(_plain(value))
        except ValidationError as error:
            for detail in error.errors():
                self._report_own(detail["loc"], _sentence(detail))
        return Overlay()

    def _report_own(self, loc: Loc, message: str) -> None:
        self._problems.add((KEY, *loc), _line(self._table, (KEY, *loc)), message)


def _plain(value: Value) -> Any:
    """*value* for pydantic; scalars are text, and keys that hold null are left out but for parameters."""
    if isinstance(value, Scalar):
        return None if value.kind == "null" else value.text
    if isinstance(value, Items):
        return [_plain(item) for item in value.items]
    plain = {key: _plain(item) for key, item in value.items.items()}
    parameters = value.items.get("parameters")
    result = {key: item for key, item in plain.items() if item is not None}
    if isinstance(parameters, Table):
        result["parameters"] = {key: _plain(item) for key, item in parameters.items.items()}
    return result


def _sentence(detail: ErrorDetails) -> str:
    kind, context, loc = detail["type"], detail.get("ctx", {}), detail["loc"]
    if kind == "extra_forbidden":
        model = MetricOverlay if loc[0] == "metrics" else Overlay
        return unknown("key", str(loc[-1]), model.model_fields)
    if kind == "value_error":
        return str(context["error"])
    if kind in _SENTENCES:
        return _SENTENCES[kind].format_map(context)
    return re.sub(r"^(Input|Value) should ", "must ", detail["msg"])


def _line(value: Value, loc: tuple[Step, ...]) -> int:
    """The line of what stands at *loc*, or of the innermost thing on the way that is there."""
    line = value.line
    for step in loc:
        if isinstance(value, Table) and isinstance(step, str) and step in value.items:
            line, value = value.lines[step], value.items[step]
        elif isinstance(value, Items) and isinstance(step, int):
            value = value.items[step]
            line = value.line
    return line


def _says(overlay: Overlay, loc: Loc) -> bool:
    value: Any = overlay
    for step in loc:
        if isinstance(value, BaseModel) and step in value.model_fields_set:
            value = getattr(value, str(step))
        elif isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            return False
    return True
