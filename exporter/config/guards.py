"""What every reader of YAML that people write must refuse first, and how it says what is wrong."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.reader import Reader


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


def check_depth(text: str, loader: Any, deepest: int) -> None:
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
        if depth > deepest:
            raise Broken(line_of(event), f"nested more than {deepest} levels deep")


def syntax(error: yaml.MarkedYAMLError, text: str) -> Broken:
    """What *error* says about *text*, for the person who wrote it."""
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
