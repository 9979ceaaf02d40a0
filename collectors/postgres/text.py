"""Results as PostgreSQL's own text: no value is ever made into a Python object and back."""

from __future__ import annotations

from typing import Any

from psycopg import adapters
from psycopg.abc import AdaptContext
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.types.none import NoneDumper
from psycopg.types.numeric import IntDumper
from psycopg.types.string import StrDumperUnknown, TextLoader


class _Context:
    """What ``psycopg.connect`` takes for a context."""

    connection = None

    def __init__(self, adapters_: AdaptersMap) -> None:
        self.adapters = adapters_


class _BytesLoader(Loader):
    """Text of a database that promises no encoding: UTF-8 where it is, else with replacements."""

    def load(self, data: Any) -> str:
        return bytes(data).decode("utf-8", "replace")


class _BytesDumper(Dumper):
    """The counterpart: a parameter is always sent as UTF-8."""

    oid = 0

    def dump(self, obj: str) -> bytes:
        return obj.encode()


def as_text() -> AdaptContext:
    """Every type, those of extensions too, is loaded as ``str``; a ``str`` is sent without a type."""
    found = AdaptersMap(types=adapters.types)
    # Nothing else is registered, so this one, that of unknown types, is that of all.
    found.register_loader(0, TextLoader)
    found.register_dumper(str, StrDumperUnknown)
    found.register_dumper(type(None), NoneDumper)
    found.register_dumper(int, IntDumper)
    return _Context(found)


def take_any_bytes(found: AdaptersMap) -> None:
    """Make a connection to a database of the encoding SQL_ASCII read and write UTF-8.

    The server hands out bytes of such a database as they are, and only when no encoding is asked for that
    could be wrong: LATIN1 never is, so that is what the connection must ask for.
    """
    found.register_loader(0, _BytesLoader)
    found.register_dumper(str, _BytesDumper)


def from_latin1(text: str) -> str:
    """The name of a column that is UTF-8 but was read as LATIN1."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")
