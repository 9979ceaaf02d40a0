"""A question about history on one connection: which projects it is about, and its conditions in SQL."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.model.history import Wanted
from exporter.model.runs import RefKind
from exporter.store.clean import storable
from exporter.store.globs import matches_one
from exporter.store.tables import runs, targets, units

_REF = 1000  # bytes of a ref as it is stored


@dataclass(frozen=True, slots=True)
class Project:
    """A unit that may be shown."""

    id: int
    provider: str
    name: str
    default_branch: str
    version: int


def shown_projects(connection: Connection, providers: Mapping[str, str]) -> dict[int, Project]:
    """``unit id -> project`` of all that are configured, active and caught up."""
    labels = {storable(target): label for target, label in providers.items()}
    rows = connection.execute(
        sa.select(
            units.c.id, targets.c.name.label("target"), units.c.name, units.c.default_branch, units.c.version
        )
        .join_from(units, targets)
        .where(units.c.active, units.c.caught_up, targets.c.name.in_(labels))
        .order_by(units.c.id)
    )
    return {
        unit_id: Project(unit_id, labels[target], name, default_branch, version)
        for unit_id, target, name, default_branch, version in rows
    }


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


def of_runs(wanted: Wanted, unit_ids: Any, dialect: str) -> list[sa.ColumnElement[bool]]:
    """What a row of `runs` must fulfil to be one of *wanted* in these units."""
    conditions = [of_units(runs.c.unit_id, unit_ids), sa.not_(runs.c.deleted)]
    if wanted.since is not None:
        conditions.append(runs.c.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(runs.c.created_at < wanted.until)
    conditions += of_kinds(wanted, runs)
    if wanted.refs:
        conditions.append(matches_one(runs.c.ref, [storable(ref, _REF) for ref in wanted.refs], dialect))
    if wanted.default_branch_only:
        default = sa.select(units.c.default_branch).where(units.c.id == runs.c.unit_id).scalar_subquery()
        conditions += [runs.c.ref_kind == RefKind.BRANCH.value, runs.c.ref == default]
    return conditions


def of_kinds(wanted: Wanted, table: sa.Table) -> list[sa.ColumnElement[bool]]:
    """The conditions on status, source and kind of ref, which runs and periods have alike."""
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.statuses:
        conditions.append(table.c.status.in_([status.value for status in wanted.statuses]))
    if wanted.sources:
        conditions.append(table.c.source.in_([storable(source) for source in wanted.sources]))
    if wanted.ref_kinds:
        conditions.append(table.c.ref_kind.in_([kind.value for kind in wanted.ref_kinds]))
    return conditions
