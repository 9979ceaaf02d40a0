"""A question about history on one connection: which projects it is about, and its conditions in SQL."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.clock import EPOCH
from exporter.model.history import Wanted
from exporter.model.runs import RefKind
from exporter.store.clean import storable
from exporter.store.globs import matches_one
from exporter.store.periods import WIDTH, period_of
from exporter.store.tables import periods, runs, seasons, targets, units

Conditions: TypeAlias = list[sa.ColumnElement[bool]]
_REF = 1000  # bytes of a ref as it is stored
# SQLite has no statistics of our data, and would rather go through the table, row by row.
COVERING = "INDEXED BY runs_of_unit"


@dataclass(frozen=True, slots=True)
class Project:
    """A unit that may be shown."""

    id: int
    provider: str
    name: str
    default_branch: str
    version: int
    pruned: int


def shown_projects(connection: Connection, providers: Mapping[str, str]) -> dict[int, Project]:
    """``unit id -> project`` of all that are configured, active and caught up."""
    labels = {storable(target): label for target, label in providers.items()}
    rows = connection.execute(
        sa.select(
            units.c.id,
            targets.c.name.label("target"),
            units.c.name,
            units.c.default_branch,
            units.c.version,
            units.c.pruned,
        )
        .join_from(units, targets)
        .where(units.c.active, units.c.caught_up, targets.c.name.in_(labels))
        .order_by(units.c.id)
    )
    return {unit_id: Project(unit_id, labels[target], *facts) for unit_id, target, *facts in rows}


def chosen(projects: Mapping[int, Project], wanted: Wanted) -> dict[int, Project]:
    """Those of *projects* that *wanted* is about."""
    return {
        project.id: project
        for project in projects.values()
        if (not wanted.providers or project.provider in wanted.providers)
        and (
            not wanted.projects
            or any(fnmatch.fnmatchcase(project.name, storable(glob, _REF)) for glob in wanted.projects)
        )
    }


def of_units(column: sa.Column[int], unit_ids: Any) -> sa.ColumnElement[bool]:
    """That *column* is one of *unit_ids*, which are written out: they may be more than parameters can."""
    ids = sa.bindparam(None, sorted(unit_ids), expanding=True, literal_execute=True, type_=sa.Integer())
    return column.in_(ids)


@dataclass(frozen=True, slots=True)
class Question:
    """A question on one connection, and the projects that it is about."""

    connection: Connection
    wanted: Wanted
    projects: Mapping[int, Project]

    @property
    def has_refs(self) -> bool:
        """Whether it asks for certain refs, which no period tells."""
        return bool(self.wanted.refs) or self.wanted.default_branch_only

    @property
    def has_sorts(self) -> bool:
        """Whether it asks for certain sources or kinds of refs, which no season tells."""
        return bool(self.wanted.sources or self.wanted.ref_kinds)

    @property
    def is_selective(self) -> bool:
        """Whether many runs of its time may have to be looked at for each that it is about."""
        return self.has_refs or self.has_sorts or bool(self.wanted.statuses)

    @property
    def narrows(self) -> bool:
        """Whether it asks for less than everything."""
        return self.wanted != Wanted()

    def of_runs(self, since: datetime | None = None, until: datetime | None = None) -> Conditions:
        """What a row of `runs` must fulfil, created in [*since*, *until*) if these are given."""
        wanted = self.wanted
        conditions = [of_units(runs.c.unit_id, self.projects), sa.not_(runs.c.deleted)]
        for start in filter(None, (wanted.since, since)):
            conditions.append(runs.c.created_at >= start)
        for end in filter(None, (wanted.until, until)):
            conditions.append(runs.c.created_at < end)
        conditions += self._of_sorts(runs)
        if wanted.refs:
            refs = [storable(ref, _REF) for ref in wanted.refs]
            conditions.append(matches_one(runs.c.ref, refs, self.connection.dialect.name))
        if wanted.default_branch_only:
            default = sa.select(units.c.default_branch).where(units.c.id == runs.c.unit_id)
            conditions += [
                runs.c.ref_kind == RefKind.BRANCH.value,
                runs.c.ref == default.scalar_subquery(),
            ]
        return conditions

    def of_seasons(self) -> Conditions:
        """What a row of `seasons` must fulfil, whatever the time."""
        return [of_units(seasons.c.unit_id, self.projects), *self._of_statuses(seasons)]

    def of_periods(self) -> Conditions:
        """What a row of `periods` must fulfil that has such a run in it, as far as periods tell."""
        wanted = self.wanted
        conditions = [of_units(periods.c.unit_id, self.projects), *self._of_sorts(periods)]
        if wanted.since is not None:
            conditions.append(periods.c.period >= period_of(wanted.since))
        if wanted.until is not None:
            conditions.append(periods.c.period <= period_of(wanted.until))
        return conditions

    def _of_sorts(self, table: sa.Table) -> Conditions:
        """The conditions on status, source and kind of ref, which runs and periods have alike."""
        wanted = self.wanted
        conditions = self._of_statuses(table)
        if wanted.sources:
            conditions.append(table.c.source.in_([storable(source) for source in wanted.sources]))
        if wanted.ref_kinds:
            conditions.append(table.c.ref_kind.in_([kind.value for kind in wanted.ref_kinds]))
        return conditions

    def _of_statuses(self, table: sa.Table) -> Conditions:
        statuses = [status.value for status in self.wanted.statuses]
        return [table.c.status.in_(statuses)] if statuses else []

    def whole_periods(self) -> tuple[int | None, int | None]:
        """The first period that begins in the time asked about, and the first that does not end in it.

        ``None`` where that has no beginning or end.
        """
        since, until = self.wanted.since, self.wanted.until
        first = None if since is None else -((EPOCH - since) // WIDTH)
        return first, None if until is None else period_of(until)
