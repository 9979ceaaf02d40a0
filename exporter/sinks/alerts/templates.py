"""Templates of messages: jinja2 in a sandbox, plain text, and bounded in what they may cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

_LONGEST_RANGE = 1_000
_LONGEST_PRODUCT = 10_000
_SECONDS = 1.0
_DEEPEST_LOOP = 2
# Those that cannot blow up: `center(1000000000)` would be a gigabyte.
_FILTERS = (
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "groupby",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
)
_COSTLY = ("center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill")
_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.Block: "block",
}


class TemplateFault(Exception):
    """A template is wrong, or does not fit what it was given; the text says how."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """What templates may do: read what they are given, in loops that end."""

    def __init__(self) -> None:
        # No autoescape: it is text, not HTML; who sends it as something else escapes it there.
        super().__init__(undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
        self.intercepted_binops = frozenset(("*", "**", "%"))
        self.filters = {name: self.filters[name] for name in _FILTERS}
        self.globals = {"range": _range}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return not (isinstance(obj, str) and attr in _COSTLY) and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Any:
        if super().wrap_str_format(value) is not None:
            raise SecurityError("format cannot be used here; join texts with ~")
        return None

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise SecurityError("% does not format here; join texts with ~")
        if operator == "**" and not (abs(left) <= _LONGEST_PRODUCT and abs(right) <= 10):
            raise SecurityError("the power is too large")
        if operator == "*" and any(
            _size(one) * abs(other) > _LONGEST_PRODUCT for one, other in _repeated(left, right)
        ):
            raise SecurityError("the product is too long")
        return super().call_binop(context, operator, left, right)


def _repeated(left: Any, right: Any) -> list[tuple[Any, int]]:
    """``(what is repeated, how often)``, if anything is."""
    pairs = ((left, right), (right, left))
    return [(one, times) for one, times in pairs if isinstance(times, int) and hasattr(one, "__len__")]


def _size(value: Any) -> int:
    return max(1, len(value))


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > _LONGEST_RANGE:
        raise SecurityError(f"a range may have at most {_LONGEST_RANGE} numbers")
    return numbers


def duration(seconds: float) -> str:
    """*seconds* in words of at most two units, such as ``2 h 5 min``."""
    left = max(0, round(seconds))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (large, size), (small, part) in pairwise(units):
        if left >= size:
            rest = left % size // part
            return f"{left // size} {large} {rest} {small}" if rest else f"{left // size} {large}"
    return f"{left} s"


class Template:
    """One template of the operator, or one of ours.

    Raises:
        TemplateFault: it is none.
    """

    def __init__(self, source: str, longest: int) -> None:
        self._longest = longest
        environment = _ENVIRONMENT
        try:
            _check(environment.parse(source), 0)
            self._template = environment.from_string(source)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise TemplateFault(f"{error.message}{f' (line {line})' if line else ''}") from None
        except RecursionError:
            raise TemplateFault("it is nested too deeply") from None

    def render(self, context: Mapping[str, Any]) -> str:
        """The text for *context*, shortened to what a message may have.

        Raises:
            TemplateFault: it names what is not there, takes too long, or fails in another way.
        """
        deadline = time.monotonic() + _SECONDS
        pieces: list[str] = []
        length = 0
        try:
            for piece in self._template.generate(context):
                pieces.append(piece)
                length += len(piece)
                if length > self._longest:
                    break
                if time.monotonic() > deadline:
                    raise TemplateFault(f"it takes longer than {_SECONDS:g} s")
        except TemplateFault:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an expression of the operator's may raise
            message = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
            raise TemplateFault(message[:300]) from None
        text = "".join(pieces).strip()
        return text if len(text) <= self._longest else f"{text[: self._longest - 1]}…"


def _check(node: nodes.Node, loops: int) -> None:
    """Refuse what could go on for ever: what a template says is a message, not a program."""
    word = _REFUSED.get(type(node))
    if word:
        raise TemplateFault(f"{word} cannot be used here (line {node.lineno})")
    if isinstance(node, nodes.For):
        loops += 1
        if loops > _DEEPEST_LOOP or node.recursive:
            raise TemplateFault(f"at most {_DEEPEST_LOOP} loops may be nested (line {node.lineno})")
    for child in node.iter_child_nodes():
        _check(child, loops)


def when(instant: datetime) -> str:
    """*instant* for people, in its own time zone."""
    return f"{instant:%Y-%m-%d %H:%M}"


def number(value: float) -> str:
    """*value* as people write it: ``3``, ``0.25``."""
    return f"{value:.10g}"


_ENVIRONMENT = _Sandbox()
_ENVIRONMENT.filters |= {"duration": duration, "when": when, "number": number}
