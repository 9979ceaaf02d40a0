"""What several folders of tests need: a real PostgreSQL, stores on it and on SQLite, and records."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
import sqlalchemy as sa

from exporter.contract import Batch, Unit
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.model.views import UnitView
from exporter.store.base import Saved
from exporter.store.sql import SqlStore
from tests.support.postgres import PostgresServer
from tests.support.process import MEASURED, unmeasured
from tests.support.stores import ready_store

# Folders of tests that start programs and wait for them: whole files run side by side, and those that take
# minutes come first, or the last of them would run alone.
LONG = ("acceptance", "security", "collectors", "queries", "contracts")
# Folders of tests that start the whole program, and those of them that are alone in going through some code.
PROGRAMS = ("acceptance", "security")
MEASURED_PROGRAMS = ("test_hooks_porter", "test_serve")

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """The instant *seconds* after counting starts."""
    return START + timedelta(seconds=seconds)


def make_run(
    run_id: int = 1, status: Status = Status.SUCCESS, end: float | None = 60, **facts: Any
) -> PipelineRun:
    """A run on main; a finished one finished and was updated at *end* (``None``: never started)."""
    updated = facts.pop("updated_at", at(end if end is not None else 1))
    finished = at(end) if status.finished and end is not None else None
    defaults: dict[str, Any] = dict(
        run_id=run_id,
        ref="main",
        ref_kind=RefKind.BRANCH,
        source="push",
        status=status,
        created_at=at(0),
        updated_at=updated,
        started_at=at(1) if finished else None,
        finished_at=finished,
        duration_seconds=30.0 if finished else None,
        queue_seconds=1.0 if finished else None,
    )
    return PipelineRun(**(defaults | facts))


def make_job(
    job_id: int = 1, status: Status = Status.SUCCESS, end: float | None = 60, **facts: Any
) -> JobRun:
    """A job ``test`` of run 1."""
    finished = at(end) if status.finished and end is not None else None
    defaults: dict[str, Any] = dict(
        job_id=job_id,
        run_id=1,
        stage="test",
        name="unit",
        status=status,
        created_at=at(0),
        started_at=at(1) if finished else None,
        finished_at=finished,
        duration_seconds=5.0 if finished else None,
        queue_seconds=2.0 if finished else None,
    )
    return JobRun(**(defaults | facts))


@dataclass
class Desk:
    """One caught-up unit of a store, and short ways to save to it and to look at it."""

    store: SqlStore
    unit: int

    def save(self, *items: PipelineRun | JobRun, more: bool = False, **batch: Any) -> Saved:
        """Save one batch of *items*."""
        runs = tuple(item for item in items if isinstance(item, PipelineRun))
        jobs = tuple(item for item in items if isinstance(item, JobRun))
        return self.store.save(self.unit, Batch(runs=runs, jobs=jobs, more=more, **batch), START)

    @property
    def view(self) -> UnitView:
        return self.store.views([self.unit], job_state=True)[0]

    @property
    def latest(self) -> dict[str, int]:
        """``ref -> newest run id``."""
        return {run.ref: run.run_id for run in self.view.latest}

    def totals(self, family: str = "ci_pipeline_runs") -> dict[tuple[str, ...], float]:
        """``labels -> value`` of one persisted family."""
        return {total.labels: total.value for total in self.view.totals if total.family == family}

    def total(self, family: str = "ci_pipeline_runs") -> float:
        """The sum over all labels of a counter."""
        return sum(self.totals(family).values())

    def counted(self) -> dict[str, float]:
        """``status -> runs counted``."""
        found: dict[str, float] = {}
        for labels, value in self.totals().items():
            found[labels[-1]] = found.get(labels[-1], 0) + value
        return found


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Builders of records."""
    return SimpleNamespace(at=at, run=make_run, job=make_job, START=START, Desk=Desk)


# -- the run -------------------------------------------------------------------------------------

# A busy machine takes any time for an example.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


# A worker was measured three times over: as a child of a program that is measured, by pytest-cov from its
# start, and by pytest-cov again from when it knew that it is a worker. While the last one pauses for a test
# that is marked no_cover, those before it go on.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Workers do not measure themselves; pytest-cov does, and asks their children to."""
    os.environ.pop(MEASURED, None)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """In a worker, end what pytest-cov began before it knew of that, and keep what that has found."""
    plugin = session.config.pluginmanager.getplugin("_cov")
    controller = getattr(plugin, "cov_controller", None)
    if controller is not None and hasattr(session.config, "workerinput"):
        controller.cov.stop()
        controller.cov.save()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests stay until the end: to look for garbage among them took a fifth of all time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """After the shuffle: long files first, each group in the order that chance gave it."""
    for item in items:
        if _is_repeated(item):
            item.add_marker(pytest.mark.no_cover)
    items.sort(key=lambda item: _turn(item.path.relative_to(config.rootpath / "tests").parts[0]))


def _is_repeated(item: pytest.Item) -> bool:
    """Whether it goes through code that others measure, which would take half as long again.

    So do whole worlds that are told or counted exactly once, the PostgreSQL half of a pair, except
    where the code is about one database, and what starts the whole program.
    """
    if item.path.parent.name in PROGRAMS and item.path.stem not in MEASURED_PROGRAMS:
        return True
    call = getattr(item, "callspec", None)
    paired = call is not None and "postgresql" in call.params.values()
    return (paired and item.path.parent.name != "store") or item.path.stem.endswith("exactly_once")


def _turn(folder: str) -> int:
    return LONG.index(folder) if folder in LONG else len(LONG)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """The programs of a test that pytest-cov does not measure are not measured, either."""
    with unmeasured() if item.get_closest_marker("no_cover") else nullcontext():
        return (yield)


# -- databases -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL server that trusts all but the role ``locked``; all tests share it."""
    server = PostgresServer(rules="local all locked scram-sha-256\n")
    yield server
    server.remove()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """Where it is, ``postgresql://…/postgres``."""
    return postgres_server.url


_numbers = itertools.count(1)


@contextmanager
def fresh_database(postgres_url: str, template: str = "template1") -> Iterator[str]:
    """The URL of a database on the server, a copy of *template* (empty), which ends with the block."""
    name = f"test_{next(_numbers)}"
    server = sa.create_engine(
        postgres_url.replace("postgresql:", "postgresql+psycopg:"),
        isolation_level="AUTOCOMMIT",
        poolclass=sa.pool.NullPool,
    )
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield postgres_url.replace("/postgres?", f"/{name}?")
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database of its own."""
    with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store of this version without a row, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    return Path(ready_store(folder).removeprefix("sqlite:///"))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a store of its own without a row, the file ``store.db`` in *tmp_path*."""
    return ready_store(tmp_path)


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """The name of such a store on the shared server."""
    with fresh_database(postgres_url) as url:
        SqlStore(url).close()
        yield url.partition("?")[0].rpartition("/")[2]


@pytest.fixture
def postgres_store(postgres_url: str, postgres_template: str) -> Iterator[str]:
    """The URL of a store of its own on the shared server."""
    with fresh_database(postgres_url, postgres_template) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of a store without a row, once of each kind of database."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    return str(request.getfixturevalue("postgres_store"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once of each kind; for tests of how a store comes to be."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres_database"))


@pytest.fixture
def sql(store_url: str) -> Iterator[Callable[[str], list[Any]]]:
    """Another client of the same database: runs one statement, returns its rows."""
    engine = sa.create_engine(
        store_url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.pool.NullPool
    )

    def run(statement: str) -> list[Any]:
        with engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result.all()) if result.returns_rows else []

    yield run
    engine.dispose()


@pytest.fixture
def open_store(store_url: str) -> Iterator[Callable[[], SqlStore]]:
    """Opens one more store on the database, as another process would."""
    opened: list[SqlStore] = []

    def open_() -> SqlStore:
        opened.append(SqlStore(store_url))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], SqlStore]) -> SqlStore:
    """A store, on SQLite and on PostgreSQL."""
    return open_store()


@pytest.fixture
def new_desk(store: SqlStore) -> Callable[..., Desk]:
    """Makes a fresh caught-up unit of a target of its own."""
    numbers = itertools.count(1)

    def new(key: str = "7") -> Desk:
        unit = Unit(key, f"group/project-{key}", default_branch="main")
        stored = store.register(f"source-{next(numbers)}", [unit], backfill_days=0, now=START)[0]
        store.save(stored.id, Batch(cursor="start"), START)
        return Desk(store, stored.id)

    return new


@pytest.fixture
def desk(new_desk: Callable[..., Desk]) -> Desk:
    return new_desk()
