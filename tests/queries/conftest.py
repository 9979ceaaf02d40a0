"""The shipped reports, a database with their tables, and a stand-in that stays as it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from collectors.postgres.standin.demo import demo_source
from exporter.contract import DemoSource

QUERIES = Path(__file__).parents[2] / "queries"
Connection = psycopg.Connection[Any]


@pytest.fixture(scope="session")
def queries() -> Path:
    """The folder of the query files."""
    return QUERIES


@pytest.fixture(scope="session")
def report() -> Callable[[str], dict[str, Any]]:
    """Reads a query file by its ``collector_name``."""

    def read(name: str) -> dict[str, Any]:
        return dict(yaml.safe_load((QUERIES / f"{name}.collector.yml").read_text()))

    return read


@pytest.fixture(scope="session")
def run(report: Callable[[str], dict[str, Any]]) -> Callable[[Connection, str], list[tuple[Any, ...]]]:
    """Runs a query file: ``(labels by name, then the value)`` of each row, in order."""

    def run(connection: Connection, name: str) -> list[tuple[Any, ...]]:
        metric = report(name)["metrics"][0]
        columns = [*sorted(metric["key_labels"]), *metric["values"]]
        cursor = connection.execute(metric["query"].encode())
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        return [tuple(row[names.index(column)] for column in columns) for row in cursor]

    return run


@pytest.fixture
def database(postgres_database: str) -> Iterator[Connection]:
    """A connection to a database with our tables, all empty."""
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute((QUERIES / "schema.sql").read_bytes())
        yield connection


@pytest.fixture
def add(database: Connection) -> Callable[..., int]:
    """Adds a pull request, its times as SQL; creates its project. Returns its id."""

    def add(project: str, state: str = "open", opened: str = "now()", **times: str) -> int:
        database.execute(
            b"INSERT INTO projects SELECT count(*), %s FROM projects ON CONFLICT DO NOTHING", (project,)
        )
        columns = "".join(f", {name}" for name in times)
        values = "".join(f", {value}" for value in times.values())
        row = database.execute(
            f"""INSERT INTO pull_requests (id, project_id, number, state, created_at{columns})
                SELECT (SELECT count(*) FROM pull_requests), projects.id,
                       (SELECT count(*) FROM pull_requests), %s, {opened}{values}
                FROM projects WHERE key = %s RETURNING id""".encode(),
            (state, project),
        ).fetchone()
        assert row is not None
        return int(row[0])

    return add


def end(source: DemoSource, directory: Path) -> None:
    """End a stand-in of ours as the demo does, and remove what it keeps elsewhere."""
    for process_id in source.process_ids:
        os.kill(process_id, 15)
        os.waitpid(process_id, 0)
    shutil.rmtree((directory / "postgres").resolve(), ignore_errors=True)


@pytest.fixture(scope="session")
def frozen_source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSource]:
    """A stand-in in which nothing happens any more."""
    directory = tmp_path_factory.mktemp("standin")
    source = demo_source(directory, moving=False)
    yield source
    end(source, directory)


@pytest.fixture(scope="session")
def frozen(frozen_source: DemoSource) -> str:
    """Its DSN."""
    return str(frozen_source.block["databases"]["main"]["dsn"])


@pytest.fixture
def world(frozen: str) -> Iterator[Connection]:
    """A reader's connection to that stand-in."""
    with psycopg.connect(frozen, autocommit=True) as connection:
        yield connection
