"""Globs as conditions that both databases understand, exactly as :func:`fnmatch.fnmatchcase` does."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

_WILD = frozenset("*?[")


def matches_one(column: sa.Column[str], globs: Sequence[str], dialect: str) -> sa.ColumnElement[bool]:
    """That *column* matches one of *globs*."""
    wanted = dict.fromkeys(globs)
    plain = [glob for glob in wanted if _WILD.isdisjoint(glob)]
    conditions: list[sa.ColumnElement[bool]] = [column.in_(plain)] if plain else []
    conditions += [_matches(column, glob, dialect) for glob in wanted if glob not in plain]
    return sa.or_(*conditions)


def _matches(column: sa.Column[str], glob: str, dialect: str) -> sa.ColumnElement[bool]:
    sets = "[" in glob
    if dialect == "sqlite":
        # GLOB has sets of characters as well, but other ones; REGEXP is Python's re.
        return column.regexp_match(r"\A" + fnmatch.translate(glob)) if sets else column.bool_op("GLOB")(glob)
    return column.bool_op("~")(_expression(glob)) if sets else column.like(_like(glob), escape="\\")


def _like(glob: str) -> str:
    """*glob*, which has no sets, as a pattern of LIKE."""
    translated = {"*": "%", "?": "_", "%": r"\%", "_": r"\_", "\\": r"\\"}
    return "".join(translated.get(character, character) for character in glob)


def _expression(glob: str) -> str:
    """*glob* as one of PostgreSQL's regular expressions."""
    parts: list[str] = []
    at = 0
    while at < len(glob):
        character = glob[at]
        at += 1
        if character in "*?":
            parts.append(".*" if character == "*" else ".")
        elif character == "[" and (end := _end_of_set(glob, at)):
            parts.append(_set(glob[at:end]))
            at = end + 1
        else:
            parts.append(_literal(character))
    return f"^{''.join(parts)}$"


def _end_of_set(glob: str, at: int) -> int | None:
    """Where the ``]`` of the set that begins at *at* is; ``None`` if it is none: then ``[`` means itself."""
    if glob[at : at + 1] == "!":
        at += 1
    found = glob.find("]", at + 1)
    return found if found >= 0 else None


def _set(inside: str) -> str:
    """One character of (or, after ``!``, out of) those between the brackets."""
    negated = inside.startswith("!")
    members = "".join(_ranges(inside.removeprefix("!")))
    if not members:  # all its ranges are empty: no character at all, or any
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{members}]"


def _ranges(inside: str) -> Iterable[str]:
    """The members of a set; a ``-`` at its ends means itself, and ``z-a`` nothing."""
    at = 0
    while at < len(inside):
        if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
            first, last = inside[at], inside[at + 2]
            if first <= last:
                yield f"{_literal(first)}-{_literal(last)}"
            at += 3
        else:
            yield _literal(inside[at])
            at += 1


def _literal(character: str) -> str:
    """*character*, whatever it is, meaning itself."""
    return character if character.isascii() and character.isalnum() else rf"\U{ord(character):08x}"
