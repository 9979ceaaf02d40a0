"""What PostgreSQL's planner expects of a query: its cost, its rows, and the large tables it reads whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from collectors.postgres.errors import QueryFailed
from collectors.postgres.snapshot import Snapshot
from collectors.postgres.spec import Query

LARGE_ROWS: Final = 100_000
_ROWS_OF_TABLE: Final = (
    "SELECT c.reltuples::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = %(schema)s AND c.relname = %(table)s"
)


@dataclass(frozen=True, slots=True)
class Scan:
    """A sequential scan of a large table of estimated ``rows``; ``filter`` is empty if all are wanted."""

    table: str
    rows: int
    filter: str


@dataclass(frozen=True, slots=True)
class Cost:
    """``total`` is in the planner's own unit (about one page read from disk in order), ``rows`` a guess."""

    total: float
    rows: int
    scans: tuple[Scan, ...]


def cost_of(snapshot: Snapshot, query: Query) -> Cost | None:
    """What the planner says of *query*, which does not run; ``None`` for statements that it has no plan for.

    Raises:
        ConnectionLost: no further query can run in this snapshot.
        Stopped: the program is stopping.
    """
    # Never by the simple protocol, which would run a second statement of the same text.
    asked = replace(query, sql=f"EXPLAIN (VERBOSE, FORMAT JSON)\n{query.sql}", simple=False)
    try:
        text = snapshot.run(asked).rows[0][0]
    except QueryFailed:  # SHOW, say, or several statements
        return None
    root = json.loads(text or "[{}]")[0].get("Plan")
    if root is None:
        return None
    tables: dict[str, Scan] = {}
    for node in _nodes(root):
        if node["Node Type"] == "Seq Scan" and "Relation Name" in node:
            table = f"{node['Schema']}.{node['Relation Name']}"
            rows = max(_rows_of(snapshot, node), node["Plan Rows"])
            if rows > LARGE_ROWS:
                tables.setdefault(table, Scan(table, rows, node.get("Filter", "")))
    return Cost(root["Total Cost"], root["Plan Rows"], tuple(tables.values()))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """*node* and all below it."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += one.get("Plans", ())


def _rows_of(snapshot: Snapshot, node: dict[str, Any]) -> int:
    """How many rows the statistics say the table of *node* has; -1 or 0 if they know nothing."""
    names = {"schema": node["Schema"], "table": node["Relation Name"]}
    try:
        rows = snapshot.run(Query("reltuples", _ROWS_OF_TABLE, parameters=names)).rows
    except QueryFailed:
        return 0
    return int(rows[0][0] or 0) if rows else 0
