"""Taking what is needed out of a YAML mapping, key by key, noting everything that is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from collectors.postgres.document import Items, Loc, Scalar, Table, Value
from exporter.config.fields import dotted
from exporter.errors import ConfigError, Problem

_SHOWN = 60
_TRUE = ("y", "Y", "yes", "Yes", "YES", "on", "On", "ON")
_FALSE = ("n", "N", "no", "No", "NO", "off", "Off", "OFF")


def shown(text: str) -> str:
    """*text* for a message: in quotes, on one line, not too long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """That *name* is no known *kind*, and what may have been meant; *allowed* is listed when it is short."""
    names = list(dict.fromkeys(allowed))
    # Looking through thousands of names for each of thousands of mistakes would take minutes.
    close = difflib.get_close_matches(name[:100], names[:200], n=1)
    if close:
        return f"unknown {kind} {shown(name)}; did you mean {close[0]}?"
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"unknown {kind} {shown(name)}; there are: {listed or 'none'}"


class Problems:
    """All that is wrong with one file."""

    def __init__(self, path: Path) -> None:
        self.file = str(path)
        self._found: list[Problem] = []

    def add(self, loc: Loc, line: int | None, message: str) -> None:
        """Note *message* about the value at *loc*."""
        key = "".join(char if char.isprintable() else "�" for char in dotted(loc))
        self._found.append(Problem(key, message, self.file, line))

    def fail(self, loc: Loc, line: int | None, message: str) -> NoReturn:
        """Note *message* and end here.

        Raises:
            ConfigError: with everything, by line.
        """
        self.add(loc, line, message)
        raise self._error()

    def stop(self) -> None:
        """End here if anything was found.

        Raises:
            ConfigError: with everything, by line.
        """
        if self._found:
            raise self._error()

    def _error(self) -> ConfigError:
        return ConfigError(sorted(dict.fromkeys(self._found), key=lambda found: found.line or 0))


class Block:
    """One mapping of the file. A key that is absent or null reads as empty; a wrong type is noted."""

    def __init__(self, table: Table, loc: Loc, problems: Problems) -> None:
        self.table, self.loc, self._problems = table, loc, problems

    def line(self, key: str | None = None) -> int:
        """The line of *key*; that of the block when it is absent."""
        return self.table.lines.get(key, self.table.line) if key else self.table.line

    def report(self, key: str | None, message: str) -> None:
        """Note *message* about *key*, or the block."""
        self._problems.add((*self.loc, key) if key else self.loc, self.line(key), message)

    def only(self, allowed: Sequence[str]) -> None:
        """Note every key that is not *allowed*."""
        for key in self.table.items:
            if key not in allowed:
                self.report(key, unknown("key", key, allowed))

    def has(self, key: str) -> bool:
        """Whether *key* holds anything; an empty text, and a list without entries but null, are nothing."""
        value = self.table.items.get(key)
        if isinstance(value, Items):
            return not all(_null(item) for item in value.items)
        return value is not None and not (isinstance(value, Scalar) and (_null(value) or value.text == ""))

    def is_text(self, key: str) -> bool:
        """Whether *key* holds one value, be it an empty text."""
        value = self.table.items.get(key)
        return isinstance(value, Scalar) and not _null(value)

    def text(self, key: str, *, required: bool = False) -> str:
        """The literal text of a scalar: ``1.50`` stays ``1.50``, ``yes`` stays ``yes``."""
        value = self._scalar(key, "must be text")
        if required and not self.has(key):
            self.report(key, "is required and must not be empty")
        return value.text if value else ""

    def flag(self, key: str) -> bool:
        """A truth: ``true`` without quotes, or one of YAML 1.1's words, even in quotes."""
        message = "must be true or false (without quotes), yes, no, on or off"
        value = self._scalar(key, message)
        if value is None:
            return False
        if value.kind == "bool":
            return bool(value.value)
        if value.kind != "str" or value.text not in (*_TRUE, *_FALSE):
            self.report(key, f"{message} (got {shown(value.text)})")
        return value.text in _TRUE

    def number(self, key: str) -> float | None:
        """A number written without quotes: ``1e3``, ``0x10``, ``010`` (8), ``1_000``, ``.inf``, ``.nan``."""
        message = "must be a number without quotes, such as 1 or 0.5"
        value = self._scalar(key, message)
        if value is None:
            return None
        if value.kind not in ("int", "float") or value.value is None:
            self.report(key, f"{message} (got {shown(value.text)})")
            return None
        return float(value.value)

    def texts(self, key: str) -> list[str]:
        """A list of texts; null entries are left out, as sql_exporter does."""
        result = []
        for index, value in self._entries(key, "must be a list of names, such as [a, b]"):
            if not isinstance(value, Scalar):
                self._problems.add((*self.loc, key, index), value.line, "must be text")
            elif not _null(value) and value.text == "":
                self._problems.add((*self.loc, key, index), value.line, "a name must not be empty")
            elif not _null(value):
                result.append(value.text)
        return result

    def text_map(self, key: str) -> dict[str, str]:
        """A mapping of texts; null is an empty text."""
        value = self.table.items.get(key)
        if value is None or _null(value):
            return {}
        if not isinstance(value, Table):
            self.report(key, "must be a mapping, such as {name: text}")
            return {}
        inner = Block(value, (*self.loc, key), self._problems)
        return {name: inner.text(name) for name in value.items}

    def blocks(self, key: str) -> list[Block]:
        """A list of mappings."""
        result = []
        for index, value in self._entries(key, "must be a list of mappings"):
            loc = (*self.loc, key, index)
            if isinstance(value, Table):
                result.append(Block(value, loc, self._problems))
            else:
                self._problems.add(loc, value.line, "must be a mapping (key: value)")
        return result

    def _entries(self, key: str, message: str) -> list[tuple[int, Value]]:
        value = self.table.items.get(key)
        if value is None or _null(value):
            return []
        if not isinstance(value, Items):
            self.report(key, message)
            return []
        return list(enumerate(value.items))

    def _scalar(self, key: str, message: str) -> Scalar | None:
        value = self.table.items.get(key)
        if value is None or _null(value):
            return None
        if not isinstance(value, Scalar):
            self.report(key, message)
            return None
        return value


def _null(value: Value) -> bool:
    return isinstance(value, Scalar) and value.kind == "null"
