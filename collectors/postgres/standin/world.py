"""The tables of the stand-in: filled with the past, then kept up with the clock."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg

from collectors.postgres.standin.lives import (
    DUE_AFTER,
    FORGOTTEN,
    KEYS,
    PROJECTS,
    Life,
    check_result,
    life,
)

HISTORY = timedelta(days=21)
RETENTION = timedelta(days=30)
_SECONDS_BETWEEN_OPENINGS = 120.0
# Longer than any report or check takes: what is older is settled.
_SETTLED = timedelta(minutes=45)

_REVIEW = """UPDATE pull_requests SET first_review_at = %s
             WHERE id = %s AND state = 'open' AND first_review_at IS NULL"""
_CLOSE = "UPDATE pull_requests SET state = %s, closed_at = %s WHERE id = %s AND state = 'open'"
# A pull request may be deleted while its check still runs.
_REPORT = """INSERT INTO reports (pull_request_id, kind, result, arrived_at)
             SELECT id, %s, %s, %s FROM pull_requests WHERE id = %s ON CONFLICT DO NOTHING"""
_CHECKED = """UPDATE checks SET result = %s, updated_at = %s
              WHERE pull_request_id = %s AND name = %s AND result = 'pending'"""
_CHECK_AGAIN = """UPDATE checks SET result = 'pending', updated_at = %s
                  WHERE (pull_request_id, name) = (
                      SELECT checks.pull_request_id, checks.name
                      FROM pull_requests JOIN checks ON checks.pull_request_id = pull_requests.id
                      WHERE pull_requests.state = 'open' AND checks.result <> 'pending'
                      ORDER BY random() LIMIT 1)
                  RETURNING pull_request_id, name"""


def schema() -> str:
    """The statements of ``queries/schema.sql``, of this source tree or of the installed package."""
    tree = Path(__file__).resolve().parents[3] / "queries" / "schema.sql"
    if tree.is_file():
        return tree.read_text(encoding="utf-8")
    return (resources.files("ci_exporter.queries") / "schema.sql").read_text(encoding="utf-8")


class World:
    """Pull requests of some projects, in the database of *connection*.

    What happens to a pull request follows from its number and its opening (:mod:`.lives`), so nothing but the
    tables need be kept to go on after a restart. What was missed meanwhile is made up for.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._draw = random.Random()  # noqa: S311
        self._plan: list[tuple[datetime, int, str, tuple[object, ...]]] = []
        self._order = itertools.count()
        self._next_number = FORGOTTEN + 1
        self._next_opening = datetime.max.replace(tzinfo=UTC)
        self._next_cleaning = datetime.min.replace(tzinfo=UTC)

    def prepare(self, now: datetime, *, frozen: bool = False) -> None:
        """Make tables, and fill them up to *now*. *frozen*: nothing is under way, for nothing will come."""
        with self._connection.transaction():
            self._connection.execute(schema().encode())
            self._insert_projects()
            known = self._rows("SELECT id, created_at FROM pull_requests ORDER BY id DESC LIMIT 1")
            lives = []
            opening = now - HISTORY
            if known:
                self._next_number, opening = known[0][0] + 1, max(opening, known[0][1])
            else:
                lives.append(life(FORGOTTEN, now - timedelta(hours=26)))
            until = now - _SETTLED if frozen else now
            while (opening := self._after(opening)) <= until:
                lives.append(life(self._next_number, opening, prompt=True))
                self._next_number += 1
            self._next_opening = opening
            self._copy(lives, now)
            self._plan_what_is_under_way(now)
            self._act(now)
            self._clean(now)
        self._connection.execute("ANALYZE")

    def move(self, now: datetime) -> None:
        """What happens by *now*; something always does."""
        with self._connection.transaction():
            happened = False
            while self._next_opening <= now:
                self._open(life(self._next_number, self._next_opening))
                self._next_number += 1
                self._next_opening = self._after(self._next_opening)
                happened = True
            if not self._act(now) and not happened:
                self._check_again(now)
            if self._next_cleaning <= now:
                self._clean(now)

    def _after(self, moment: datetime) -> datetime:
        return moment + timedelta(seconds=self._draw.expovariate(1 / _SECONDS_BETWEEN_OPENINGS))

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement.encode(), values or None).fetchall()

    def _insert_projects(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO projects (id, key) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                list(enumerate(KEYS, 1)),
            )
            cursor.executemany(
                "INSERT INTO expected_reports VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    (number, kind, DUE_AFTER)
                    for number, (_, kinds) in enumerate(PROJECTS.values(), 1)
                    for kind in kinds
                ],
            )

    def _copy(self, lives: Sequence[Life], now: datetime) -> None:
        """Store *lives* as they are at *now*."""
        pull_requests = []
        for one in lives:
            closed_at = _past(one.closed_at, now)
            state = "open" if closed_at is None else one.end
            facts = (one.id, one.project_id, one.id, one.title, state, one.created_at)
            pull_requests.append((*facts, _past(one.first_review_at, now), closed_at))
        columns = "id, project_id, number, title, state, created_at, first_review_at, closed_at"
        self._copy_rows(f"pull_requests ({columns})", pull_requests)
        self._copy_rows(
            "reports (pull_request_id, kind, result, arrived_at)",
            ((one.id, *report) for one in lives for report in one.reports if report[2] <= now),
        )
        self._copy_rows(
            "checks (pull_request_id, name, result, updated_at)",
            (
                (one.id, name, result, when) if when <= now else (one.id, name, "pending", one.created_at)
                for one in lives
                for name, result, when in one.checks
            ),
        )

    def _copy_rows(self, target: str, rows: Iterable[Sequence[object]]) -> None:
        with self._connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def _plan_what_is_under_way(self, now: datetime) -> None:
        """Plan what is still to come for the stored pull requests; what was done already changes nothing."""
        found = self._rows(
            "SELECT id, created_at FROM pull_requests WHERE state = 'open' OR created_at > %s", now - _SETTLED
        )
        for number, created_at in found:
            self._plan_life(life(number, created_at))

    def _plan_life(self, one: Life) -> None:
        if one.first_review_at is not None:
            self._plan_step(one.first_review_at, _REVIEW, one.first_review_at, one.id)
        for kind, result, when in one.reports:
            self._plan_step(when, _REPORT, kind, result, when, one.id)
        for name, result, when in one.checks:
            self._plan_step(when, _CHECKED, result, when, one.id, name)
        if one.closed_at is not None:
            self._plan_step(one.closed_at, _CLOSE, one.end, one.closed_at, one.id)

    def _plan_step(self, when: datetime, statement: str, *values: object) -> None:
        heapq.heappush(self._plan, (when, next(self._order), statement, values))

    def _act(self, now: datetime) -> bool:
        """Do what is planned until *now*; whether that changed anything."""
        changed = 0
        while self._plan and self._plan[0][0] <= now:
            _, _, statement, values = heapq.heappop(self._plan)
            changed += self._connection.execute(statement.encode(), values).rowcount
        return changed > 0

    def _open(self, one: Life) -> None:
        self._copy([one], one.created_at)
        self._plan_life(one)

    def _check_again(self, now: datetime) -> None:
        for number, name in self._rows(_CHECK_AGAIN, now):
            when = now + timedelta(seconds=self._draw.uniform(15, 40))
            self._plan_step(when, _CHECKED, check_result(self._draw), when, number, name)

    def _clean(self, now: datetime) -> None:
        """Forget what was closed long ago, with its reports and checks."""
        self._connection.execute(b"DELETE FROM pull_requests WHERE closed_at < %s", (now - RETENTION,))
        self._next_cleaning = now + timedelta(hours=1)


def _past(moment: datetime | None, now: datetime) -> datetime | None:
    return moment if moment is not None and moment <= now else None
