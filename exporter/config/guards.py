"""What every reader of YAML that people write must refuse first, and how it says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import yaml
from yaml.nodes import Node
from yaml.reader import Reader

from exporter.config.fields import Loc

MAX_DEPTH = 32
MAX_VALUES = 100_000
TAG = "tag:yaml.org,2002:"


class Fault(NamedTuple):
    """One thing wrong with the text; ``loc`` is ``()`` when no key can be named."""

    loc: Loc
    line: int
    message: str


class Broken(Exception):
    """The text cannot be read; ``line`` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


def check_text(text: str) -> None:
    """Refuse control characters here: PyYAML reports them without a line."""
    found = Reader.NON_PRINTABLE.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise Broken(line, f"the control character U+{ord(found.group()):04X} is not allowed")


def check_depth(text: str, loader: Any) -> None:
    """Refuse deep nesting in the first document before composing it.

    libyaml's composer recurses until the stack overflows.
    """
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.DocumentEndEvent):
            return
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _too_deep(event)


def _too_deep(node: Any) -> Broken:
    return Broken(line_of(node), f"nested more than {MAX_DEPTH} levels deep")


class Walk:
    """A way through PyYAML's nodes, within bounds; ``faults`` are what was wrong on it."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._open: set[int] = set()
        self._count = 0

    def fault(self, loc: Loc, node: Node, message: str) -> None:
        """Note what is wrong at *node*."""
        self.faults.append(Fault(loc, line_of(node), message))

    def spend(self, node: Node) -> None:
        """Keep within bounds: a few aliases of aliases stand for billions of values, or endless depth."""
        self._count += 1
        if self._count > MAX_VALUES:
            raise Broken(line_of(node), f"more than {MAX_VALUES} values, counting each use of an alias")
        if len(self._open) > MAX_DEPTH:
            raise _too_deep(node)

    def may_enter(self, node: Node, loc: Loc) -> bool:
        """Whether *node* is a plain mapping or list that we are not inside of; otherwise that is a fault."""
        if self.is_inside(node):
            self.fault(loc, node, "an alias must not contain itself")
        elif node.tag not in (TAG + "map", TAG + "seq"):
            self.fault(loc, node, "tags (!…) are not allowed")
        else:
            return True
        return False

    def is_inside(self, node: Node) -> bool:
        """Whether *node* is being read: an alias has led back to it."""
        return id(node) in self._open

    @contextmanager
    def inside(self, node: Node) -> Iterator[None]:
        """A block in which *node* is being read."""
        self._open.add(id(node))
        try:
            yield
        finally:
            self._open.discard(id(node))


def unreadable(error: Broken | yaml.YAMLError, text: str) -> Fault:
    """Why *text* could not be read to its end, for the person who wrote it."""
    if isinstance(error, yaml.MarkedYAMLError):
        error = _syntax(error, text)
    return Fault((), error.line, error.message) if isinstance(error, Broken) else _NOT_YAML


_NOT_YAML = Fault((), 1, "this is not valid YAML")


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Broken:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    # The pure Python parser quotes names from the text, and those might be a secret without quotes.
    what = re.sub(r" '[^'<>]{2,}'", "", error.problem or "this is not valid YAML")
    if "another document" in what:
        what = "a second document begins; only one is allowed"
    lines = text.splitlines()
    source = lines[line - 1] if line <= len(lines) else ""
    if "\t" in source[: len(source) - len(source.lstrip())]:
        what = "a tab is not allowed in the indentation; use spaces"
    elif "${" in source:
        what += " (inside [ ] and { }, put ${…} in quotes)"
    elif "cannot start any token" in what or "alias" in what or "tag" in what:
        what += " (put the value in quotes if it is text)"
    return Broken(line, f"not valid YAML: {what}")


def line_of(node: Any) -> int:
    """The line, from 1, at which *node* (or an event) begins."""
    return int(node.start_mark.line) + 1
