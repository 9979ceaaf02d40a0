"""What went through the outbox of an exporter, noted by the database itself: what sinks must have told."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from pathlib import Path

from exporter.store.sql import SqlStore


class Witness:
    """Notes each event that is put into the outbox of the SQLite store at *path*, which it makes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        SqlStore(f"sqlite:///{path}").close()
        self._run("CREATE TABLE witnessed AS SELECT * FROM outbox WHERE 0")
        self._run(
            "CREATE TRIGGER witness AFTER INSERT ON outbox BEGIN"
            " INSERT INTO witnessed SELECT * FROM outbox WHERE position = NEW.position; END"
        )

    def _run(self, statement: str) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self._path, timeout=60)
        try:
            with connection:
                return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def count(self) -> int:
        """How many events were put in."""
        return int(str(self._run("SELECT count(*) FROM witnessed")[0][0]))

    def by_key(self) -> dict[str, list[str]]:
        """``key -> ids`` of the events in their order."""
        found: dict[str, list[str]] = defaultdict(list)
        for key, event_id in self._run("SELECT key, event_id FROM witnessed ORDER BY position"):
            found[str(key)].append(str(event_id))
        return dict(found)

    def states(self) -> set[tuple[str, str]]:
        """``(subject, last word of the type)`` of the events, such as ``("runs/7", "failed")``."""
        rows = self._run("SELECT subject, type FROM witnessed")
        return {(str(subject), str(type_).rsplit(".", 1)[-1]) for subject, type_ in rows}

    def values(self) -> dict[tuple[str, str], bytes]:
        """``(source, id) -> data`` of the events."""
        rows = self._run("SELECT source, event_id, data FROM witnessed")
        return {(str(source), str(event_id)): data for source, event_id, data in rows}  # type: ignore[misc]
