"""YAML as sql_exporter's parser takes it: scalars keep their text, mappings their order and lines."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from exporter.config.guards import TAG, Broken, Fault, Walk, check_depth, check_text, line_of, unreadable

Step = str | int
Loc = tuple[Step, ...]
Kind = Literal["str", "null", "bool", "int", "float"]

_PLAIN = "!plain"  # our own mark: written without quotes and without a tag
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: Mapping[str, tuple[Kind, bool | float | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), ("null", None)),
    **dict.fromkeys(("true", "True", "TRUE"), ("bool", True)),
    **dict.fromkeys(("false", "False", "FALSE"), ("bool", False)),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), ("float", math.nan)),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), ("float", math.inf)),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), ("float", -math.inf)),
}
_INT = re.compile(
    r"(?P<sign>[-+]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<bin>[01]+)|0[oO]?(?P<oct>[0-7]+)"
    r"|(?P<dec>0|[1-9][0-9]*))\Z"
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
# After a leading dot underscores count only between digits; elsewhere they are dropped wherever they are.
_DOTTED = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?\Z")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value: its literal ``text``, and what it is when a reader wants a number or a truth.

    ``value`` fits ``kind``: ``None`` for ``str`` and ``null``, a bool, or a float for both number kinds.
    ``plain`` means that it was written without quotes.
    """

    text: str
    line: int
    plain: bool = False
    kind: Kind = "str"
    value: bool | float | None = None


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Value, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; ``lines`` are those of its keys, a merged key's where it was written."""

    items: Mapping[str, Value]
    lines: Mapping[str, int]
    line: int


Value = Scalar | Items | Table


@dataclass(slots=True)
class Document:
    """The first document of a text; ``root`` is ``None`` when there is none, or it cannot be read."""

    root: Value | None = None
    faults: list[Fault] = field(default_factory=list)


def read(text: str) -> Document:
    """The first document in *text*; never raises, all that is wrong is among the faults."""
    try:
        check_text(text)
        check_depth(text, _Loader)
        loader = _Loader(text)
        try:
            node = loader.get_node() if loader.check_node() else None
        finally:
            loader.dispose()
        builder = _Builder()
        root = None if node is None else builder.value(node, ())
    except (Broken, yaml.YAMLError) as error:
        return Document(faults=[unreadable(error, text)])
    return Document(root, builder.faults)


def resolve(text: str) -> tuple[Kind, bool | float | None]:
    """What a plain scalar is in sql_exporter's YAML: ``010`` is 8, ``1_000`` is 1000, ``yes`` is text."""
    found = _WORDS.get(text)
    if found is not None:
        return found
    if text[0] not in ".+-0123456789" or (text[0] == "." and not _DOTTED.match(text)):
        return "str", None
    plain = text.replace("_", "")
    number = _integer(plain)
    if number is not None:
        return "int", float(number)
    if _FLOAT.match(plain) and math.isfinite(float(plain)):
        return "float", float(plain)
    return "str", None


def _integer(text: str) -> int | None:
    """*text* as an integer of at most 64 bits; longer decimal ones are floats, longer others are text."""
    found = _INT.match(text)
    if found is None:
        return None
    for group, base in (("hex", 16), ("bin", 2), ("oct", 8), ("dec", 10)):
        digits = found[group]
        if digits is not None:
            if len(digits) > 64:  # Python refuses to convert thousands of decimal digits
                return None
            number = int(digits, base) * (-1 if found["sign"] == "-" else 1)
            return number if -(2**63) <= number < (2**63 if found["sign"] else 2**64) else None
    return None


class _Loader(_Base):  # type: ignore[misc]
    """PyYAML's loader with one change: plain scalars are marked instead of interpreted."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode:
            return _PLAIN if implicit[0] else TAG + "str"
        return TAG + ("seq" if kind is SequenceNode else "map")


class _Builder(Walk):
    """Turns PyYAML's nodes into ours, collecting faults on the way."""

    def value(self, node: Node, loc: Loc) -> Value:
        """*node* as ours."""
        self.spend(node)
        if isinstance(node, ScalarNode):
            return self._scalar(node, loc)
        if not self.may_enter(node, loc):
            return Items((), line_of(node))
        with self.inside(node):
            if isinstance(node, MappingNode):
                return self._table(node, loc)
            inner = enumerate(node.value)
            return Items(tuple(self.value(item, (*loc, index)) for index, item in inner), line_of(node))

    def _table(self, node: MappingNode, loc: Loc) -> Table:
        items: dict[str, Value] = {}
        lines: dict[str, int] = {}
        merged: list[Node] = []
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.fault(loc, key, "a key must be plain text")
            elif key.value in lines or (_is_merge(key) and merged):
                before = lines.get(key.value) or line_of(merged[0])
                self.fault((*loc, key.value), key, f"duplicate key, already set on line {before}")
            elif _is_merge(key):
                merged.append(value)
            else:
                lines[key.value] = line_of(key)
                items[key.value] = self.value(value, (*loc, key.value))
        for source in merged:
            self._merge(source, items, lines, loc)
        return Table(items, lines, line_of(node))

    def _merge(self, source: Node, items: dict[str, Value], lines: dict[str, int], loc: Loc) -> None:
        """Take from ``<<: source`` what *items* does not have itself."""
        self.spend(source)
        if self.is_inside(source):
            self.fault(loc, source, "an alias must not contain itself")
            return
        with self.inside(source):
            if isinstance(source, SequenceNode):
                for item in source.value:
                    self._merge(item, items, lines, loc)
            elif isinstance(source, MappingNode):
                self._take(source, items, lines, loc)
            else:
                self.fault(loc, source, "<<: takes another mapping, or a list of mappings")

    def _take(self, source: MappingNode, items: dict[str, Value], lines: dict[str, int], loc: Loc) -> None:
        # What was written in place wins over what that mapping merges itself.
        for key, value in source.value:
            if isinstance(key, ScalarNode) and not _is_merge(key) and key.value not in items:
                lines[key.value] = line_of(key)
                items[key.value] = self.value(value, (*loc, key.value))
        for key, value in source.value:
            if isinstance(key, ScalarNode) and _is_merge(key):
                self._merge(value, items, lines, loc)

    def _scalar(self, node: ScalarNode, loc: Loc) -> Scalar:
        text, tag, line = node.value, node.tag, line_of(node)
        if tag == TAG + "str":
            return Scalar(text, line)
        kind, value = resolve(text)
        if tag == _PLAIN:
            return Scalar(text, line, True, kind, value)
        wanted = tag.removeprefix(TAG)
        if wanted not in ("null", "bool", "int", "float"):
            self.fault(loc, node, "tags (!…) are not allowed; put the value in quotes if it begins with !")
        elif kind != wanted and (wanted, kind) != ("float", "int"):
            self.fault(loc, node, "the value does not fit its tag")
        return Scalar(text, line, False, kind, value)


def _is_merge(key: ScalarNode) -> bool:
    return key.tag in (_PLAIN, TAG + "merge") and key.value == "<<"
