"""Databases as the collector sees them, on the server that all tests share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collectors.postgres.database import Database
from collectors.postgres.settings import DatabaseSettings
from tests.support.postgres import PostgresServer
from tests.support.querylab import QueryLab

Connect = Callable[..., Database]


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def connect(stopping: threading.Event) -> Iterator[Connect]:
    """Makes a :class:`Database` named ``main`` from a DSN and other settings."""
    made: list[Database] = []

    def connect_(dsn: str, **settings: Any) -> Database:
        made.append(
            Database(
                "main",
                DatabaseSettings(dsn=dsn, **settings),
                application_name="ci-exporter",
                zone="Europe/Warsaw",
                stopping=stopping,
            )
        )
        return made[-1]

    yield connect_
    for database in made:
        database.close()


@pytest.fixture
def database(connect: Connect, postgres_database: str) -> Database:
    """On an empty database of its own."""
    return connect(postgres_database)


@pytest.fixture
def doors(lab: QueryLab, postgres_server: PostgresServer) -> Iterator[Callable[[bool], None]]:
    """Opens and closes the lab's database to everybody; closing ends all sessions."""
    name = lab.sql("SELECT current_database()")[0][0]

    def open_(wide: bool) -> None:
        postgres_server.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {wide}")
        if not wide:
            end = "pg_terminate_backend(pid, 5000)"
            postgres_server.sql(f"SELECT {end} FROM pg_stat_activity WHERE datname = '{name}'")

    yield open_
    open_(True)
