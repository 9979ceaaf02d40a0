"""What went wrong with a database, as one sentence for a person.

Nothing here holds a DSN, a password or a value from a row: what the server says is only repeated where it
speaks of names.
"""

from __future__ import annotations

import re
from typing import Any, Final

import psycopg

from collectors.postgres.spec import Query
from exporter.errors import SourceError


class Unreachable(SourceError):
    """No connection to the database could be had; its text says why."""


class ConnectionLost(SourceError):
    """The connection broke, or had to be given up; nothing more comes from this snapshot."""


class QueryFailed(SourceError):
    """One query failed; the others of the snapshot go on."""


_FULL: Final = re.compile(
    r"too many clients|too many connections|remaining connection slots|no more connections"
)
# In the words of libpq and the server, which come without a code when connecting. First match wins.
_CONNECTING: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (r"password authentication failed", "check the user and the password in its DSN"),
        (r"no password supplied|empty password", "its DSN has no password, which the server asks for"),
        (r"pg_hba\.conf", "the server's pg_hba.conf does not let this user in from here, or not without TLS"),
        (r"resolve|translate host name|name or service not known", "check the host in its DSN"),
        (r"certificate|SSL|TLS", "check its keys under tls, and sslmode in its DSN"),
        (_FULL.pattern,
         "raise the server's limit (max_connections, or that of the role or database), or lower ours"),
        (r"starting up|shutting down|recovery mode|not (yet )?accepting connections",
         "the server is starting or stopping: it is tried again"),
        (r"database .* does not exist", "check the database in its DSN"),
        (r"role .* does not exist|permission denied for database", "check the user in its DSN"),
        (r"connection refused|no such file", "is the server running, and are host and port right?"),
        (r"timeout|timed out", "is the host right, and does a firewall let us through?"),
    )
)  # fmt: skip

_LOST: Final = frozenset(("57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"))

_READ: Final = "queries may only read"
_ADVICE: Final = {
    "25006": _READ,
    "25P01": "queries must not end their transaction",
    "3B001": "queries must not end their transaction",
    "40001": "the replica had to replay changes that the query was in the way of; set hot_standby_feedback = "
    "on there, or raise max_standby_streaming_delay",
    "40P01": "it waited for a lock in a circle with another session; it is tried again",
    "42501": "grant it to the exporter's role: SELECT on tables and views, USAGE on schemas, EXECUTE on "
    "functions, or pg_monitor for the server's statistics",
    "42703": "check the column's name",
    "42883": "check the name and the types of its arguments; is its extension installed in this database?",
    "42P01": "create it, or write its schema before its name",
    "42P18": "say the parameter's type, like %(name)s::text",
    "53100": "the server's disk is full",
    "53200": "the server is out of memory",
    "55P03": "another session holds a lock on it",
    "58030": "the server could not read or write a file",
}


def why_unreachable(database: str, error: BaseException, password: str | None) -> str:
    """Why connecting failed with *error*."""
    said = _first_line(str(error))
    said = re.sub(r"^(connection failed: )?(connection to server (at|on) .*? failed: )?", "", said)
    said = re.sub(r"^(FATAL|ERROR|PANIC): +", "", said)
    # The value stood in the DSN.
    said = re.sub(r'(invalid value for parameter "[^"]*"):.*', r"\1", said)
    if password and len(password) >= 4:
        said = said.replace(password, "<secret>")
    advice = next((advice for pattern, advice in _CONNECTING if pattern.search(str(error))), "")
    return f"database {database} cannot be reached: {said}" + (f"; {advice}" if advice else "")


def is_full(error: BaseException) -> bool:
    """Whether connecting failed with *error* since the server takes no more connections."""
    return _FULL.search(str(error)) is not None


def is_lost(error: BaseException, connection: psycopg.Connection[Any]) -> bool:
    """Whether *error* ended the connection, not just a statement."""
    return (
        isinstance(error, OSError)
        or bool(connection.closed)
        or (isinstance(error, psycopg.Error) and error.sqlstate in _LOST)
    )


def why_lost(database: str, error: BaseException | None, doing: str = "") -> str:
    """Why a connection broke with *error*; *doing* names what was under way."""
    code = getattr(error, "sqlstate", None)
    said = _words(error) if error is not None else "it was given up after an earlier query"
    return f"database {database}{doing}: the connection was lost: {said}" + (f" ({code})" if code else "")


def why_failed(
    database: str, query: Query, error: psycopg.Error, *, allowed: float, took: float, offset: int
) -> str:
    """Why *query* failed with *error* after *took* seconds, of which it had *allowed*.

    *offset* is the number of characters that were sent before its SQL.
    """
    code = error.sqlstate or ""
    if code == "57014":
        return f"{_who(database, query)}: {_why_canceled(allowed, took)}"
    if code == "0A000" and "data-modifying" in str(error.diag.message_primary):
        # The server speaks of a cursor, which is ours.
        return f"{_who(database, query)}: its WITH changes data ({code}); {_READ}"
    line = _line(query, error, offset)
    place = f", line {line} of its SQL" if line else ""
    # Hints of this class name columns and functions; others may hold values.
    hint = error.diag.message_hint if code.startswith("42") else None
    parts = [_words(error) + (f" ({code}{place})" if code else ""), hint, _ADVICE.get(code)]
    return f"{_who(database, query)}: " + "; ".join(_no_stop(part) for part in parts if part)


def too_late(database: str, query: Query, allowed: float) -> str:
    """The sentence for a query that the client gave up."""
    return f"{_who(database, query)}: {_why_canceled(allowed, allowed)}"


def no_answer(database: str, doing: str, seconds: float) -> str:
    """The sentence for a server that did not even answer to a cancellation."""
    return f"database {database}{doing}: the server gave no answer for {seconds:.0f} s, and was given up"


def ended(database: str, query: Query) -> str:
    """The sentence for a query with a COMMIT or ROLLBACK in it."""
    return f"{_who(database, query)}: its SQL ends the transaction, which queries must not do"


def no_rows(database: str, query: Query) -> str:
    """The sentence for a statement without a result."""
    return f"{_who(database, query)}: its SQL returns no rows: it must be a query, such as SELECT"


def _who(database: str, query: Query) -> str:
    return f"database {database}, query {query.name}"


def _why_canceled(allowed: float, took: float) -> str:
    if took < allowed * 0.9:
        return "it was cancelled by someone else (57014)"
    return (
        f"it took longer than the {allowed:g} s it is allowed, and was cancelled (57014); make it faster, or "
        "raise statement_timeout, in its file, in the DSN if it stands there, or under collectors.postgres"
    )


def _words(error: BaseException) -> str:
    """What *error* says, without values: quoted text is one, but for errors about names."""
    if not isinstance(error, psycopg.Error):
        return _first_line(str(error)) or type(error).__name__
    code = error.sqlstate
    said = _first_line(error.diag.message_primary or str(error))
    if code is None or code[:2] in ("0A", "25", "40", "42", "53", "54", "55", "57", "58"):
        return _no_stop(said)
    if code[:2] == "P0":
        # Whoever wrote the function may have put a row into it.
        return "a function raised an exception, of which the server's log has the text"
    return _no_stop(re.sub(r"""(:\s*)?("[^\n]*"|'[^\n]*')""", "", said).strip())


def _line(query: Query, error: psycopg.Error, offset: int) -> int | None:
    """The line of the SQL, from 1, that the server points at."""
    position = error.diag.statement_position
    if position is None or not position.isdigit():
        return None
    sql = query.sql
    if query.parameters is not None:
        order = {name: f"${number}" for number, name in enumerate(dict.fromkeys(_PARAMETER.findall(sql)), 1)}
        sql = _PARAMETER.sub(lambda match: order[match[1]], sql).replace("%%", "%")
    return sql.count("\n", 0, max(0, int(position) - 1 - offset)) + 1


_PARAMETER: Final = re.compile(r"(?<!%)%\((\w+)\)s")


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else ""


def _no_stop(text: str) -> str:
    return text.strip().rstrip(".")
