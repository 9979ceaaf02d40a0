"""Strict YAML: what a person may have meant differently is refused, and every value keeps its line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from exporter.config.fields import Loc
from exporter.config.guards import TAG, Broken, Fault, Walk, check_depth, check_text, line_of, unreadable

_MERGE = TAG + "merge"
_WORD, _ZERO = "!trap-word", "!trap-zero"
_TRUE_WORDS = ("yes", "on")
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of YAML 1.2, and marks on the surprises of YAML 1.1."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own shape


for _tag, _pattern, _first in (
    (TAG + "bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (_WORD, r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", "yYnNoO"),
    (TAG + "null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (TAG + "int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (_ZERO, r"[-+]?0[0-9_]+", "-+0"),
    (
        TAG + "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+",
        "-+.0123456789",
    ),
    (_MERGE, "<<", "<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))


@dataclass(slots=True)
class Document:
    """What a text says: ``value``, the line of each key and list item, and what is wrong with it.

    ``broken`` means that it could not be read to its end, so that ``value`` says nothing. ``words`` are
    those faults that are a ``yes``, ``no``, ``on`` or ``off``: its value is the bool of YAML 1.1.
    """

    value: Any = None
    lines: dict[Loc, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    broken: bool = False
    words: list[Fault] = field(default_factory=list)


def read(text: str) -> Document:
    """*text* as YAML; never raises, all that is wrong is among the faults."""
    try:
        check_text(text)
        check_depth(text, _Loader)
        node = yaml.compose(text, Loader=_Loader)
        builder = _Builder()
        value = None if node is None else builder.value(node, ())
    except (Broken, yaml.YAMLError) as error:
        return Document(faults=[unreadable(error, text)], broken=True)
    return Document(value, builder.lines, builder.faults, words=builder.words)


class _Builder(Walk):
    """Turns PyYAML's nodes into plain values, collecting lines and faults on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Loc, int] = {}
        self.words: list[Fault] = []

    def value(self, node: Node, loc: Loc) -> Any:
        """The plain value of *node*."""
        self.spend(node)
        if isinstance(node, ScalarNode):
            return self._scalar(node, loc)
        if not self.may_enter(node, loc):
            return None
        with self.inside(node):
            return self._sequence(node, loc) if isinstance(node, SequenceNode) else self._mapping(node, loc)

    def _sequence(self, node: Node, loc: Loc) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self.lines[*loc, index] = line_of(item)
            items.append(self.value(item, (*loc, index)))
        return items

    def _mapping(self, node: Node, loc: Loc) -> dict[str, Any]:
        result: dict[str, Any] = {}
        seen: dict[str, int] = {}
        merged: list[Node] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged.append(value)
            elif not isinstance(key, ScalarNode):
                self.fault(loc, key, "a key must be plain text")
            elif key.value in seen:
                self.fault((*loc, key.value), key, f"duplicate key, already set on line {seen[key.value]}")
            else:
                seen[key.value] = self.lines[*loc, key.value] = line_of(key)
                result[key.value] = self.value(value, (*loc, key.value))
        for source in merged:
            self._merge(source, result, loc)
        return result

    def _merge(self, source: Node, result: dict[str, Any], loc: Loc) -> None:
        """Take from ``<<: source`` what *result* does not have itself."""
        self.spend(source)
        if isinstance(source, SequenceNode):
            for item in source.value:
                self._merge(item, result, loc)
        elif not isinstance(source, MappingNode) or self.is_inside(source):
            self.fault(loc, source, "<<: takes another mapping, or a list of mappings")
        else:
            with self.inside(source):
                self._take(source, result, loc)

    def _take(self, source: MappingNode, result: dict[str, Any], loc: Loc) -> None:
        for key, value in source.value:
            if key.tag == _MERGE:
                self._merge(value, result, loc)
            elif isinstance(key, ScalarNode) and key.value not in result:
                self.lines[*loc, key.value] = line_of(key)
                result[key.value] = self.value(value, (*loc, key.value))

    def _scalar(self, node: ScalarNode, loc: Loc) -> Any:
        text = node.value
        if node.tag == _WORD:
            self.fault(
                loc, node, f"{text} is ambiguous: write true or false, or put it in quotes if it is text"
            )
            self.words.append(self.faults[-1])
            return text.lower() in _TRUE_WORDS
        if node.tag == _ZERO:
            self.fault(loc, node, "a number must not begin with 0: put it in quotes if it is text")
            return text
        try:
            return _plain(node.tag.removeprefix(TAG), text)
        except KeyError:
            self.fault(loc, node, "tags (!…) are not allowed; put the value in quotes if it begins with !")
        except ValueError:
            self.fault(loc, node, "the value does not fit its tag")
        return text


def _plain(tag: str, text: str) -> Any:
    match tag:
        case "str":
            return text
        case "null":
            return None
        case "bool":
            if text.lower() not in ("true", "false"):
                raise ValueError
            return text.lower() == "true"
        case "int" if len(text) <= 100:  # Python refuses to convert thousands of digits
            return int(text, 16) if text.lower().startswith("0x") else int(text)
        case "int":
            return text
        case "float":
            return float(text)
    raise KeyError(tag)
