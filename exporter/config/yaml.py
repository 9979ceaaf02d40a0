"""Strict YAML: what a person may have meant differently is refused, and every value keeps its line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from exporter.config.fields import Loc
from exporter.config.guards import Broken, check_depth, check_text, line_of, syntax

MAX_DEPTH = 32
MAX_VALUES = 100_000
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_WORD, _ZERO = "!trap-word", "!trap-zero"
_TRUE_WORDS = ("yes", "on")
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of YAML 1.2, and marks on the surprises of YAML 1.1."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own shape


for _tag, _pattern, _first in (
    (_TAG + "bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (_WORD, r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", "yYnNoO"),
    (_TAG + "null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (_TAG + "int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (_ZERO, r"[-+]?0[0-9_]+", "-+0"),
    (
        _TAG + "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+",
        "-+.0123456789",
    ),
    (_MERGE, "<<", "<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))


class Fault(NamedTuple):
    """One thing wrong with the text; ``loc`` is ``()`` when no key can be named."""

    loc: Loc
    line: int
    message: str


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
        check_depth(text, _Loader, MAX_DEPTH)
        node = yaml.compose(text, Loader=_Loader)
        builder = _Builder()
        value = None if node is None else builder.value(node, ())
    except Broken as error:
        return Document(faults=[Fault((), error.line, error.message)], broken=True)
    except yaml.MarkedYAMLError as error:
        found = syntax(error, text)
        return Document(faults=[Fault((), found.line, found.message)], broken=True)
    except yaml.YAMLError:
        return Document(faults=[Fault((), 1, "this is not valid YAML")], broken=True)
    return Document(value, builder.lines, builder.faults, words=builder.words)


class _Builder:
    """Turns PyYAML's nodes into plain values, collecting lines and faults on the way."""

    def __init__(self) -> None:
        self.lines: dict[Loc, int] = {}
        self.faults: list[Fault] = []
        self.words: list[Fault] = []
        self._open: set[int] = set()
        self._count = 0

    def value(self, node: Node, loc: Loc) -> Any:
        """The plain value of *node*."""
        self._spend(node)
        if isinstance(node, ScalarNode):
            return self._scalar(node, loc)
        if id(node) in self._open:
            self.fault(loc, node, "an alias must not contain itself")
            return None
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self.fault(loc, node, "tags (!…) are not allowed")
        self._open.add(id(node))
        try:
            return self._sequence(node, loc) if isinstance(node, SequenceNode) else self._mapping(node, loc)
        finally:
            self._open.discard(id(node))

    def _spend(self, node: Node) -> None:
        """Keep within bounds: a few aliases of aliases stand for billions of values, or endless depth."""
        self._count += 1
        if self._count > MAX_VALUES:
            raise Broken(line_of(node), f"more than {MAX_VALUES} values, counting each use of an alias")
        if len(self._open) > MAX_DEPTH:
            raise Broken(line_of(node), f"nested more than {MAX_DEPTH} levels deep")

    def fault(self, loc: Loc, node: Node, message: str) -> None:
        """Note what is wrong at *node*."""
        self.faults.append(Fault(loc, line_of(node), message))

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
        self._spend(source)
        if isinstance(source, SequenceNode):
            for item in source.value:
                self._merge(item, result, loc)
        elif not isinstance(source, MappingNode) or id(source) in self._open:
            self.fault(loc, source, "<<: takes another mapping, or a list of mappings")
        else:
            self._open.add(id(source))
            for key, value in source.value:
                if key.tag == _MERGE:
                    self._merge(value, result, loc)
                elif isinstance(key, ScalarNode) and key.value not in result:
                    self.lines[*loc, key.value] = line_of(key)
                    result[key.value] = self.value(value, (*loc, key.value))
            self._open.discard(id(source))

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
            return _plain(node.tag.removeprefix(_TAG), text)
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
