"""Labs: a stand-in GitLab and an exporter that polls it, in time that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.harness import (
    PROJECT,
    ChangesLab,
    DeploymentsLab,
    EventsLab,
    FleetLab,
    Lab,
    ReportsLab,
    gitlab,
)

L = TypeVar("L", bound=Lab)


@pytest.fixture
def lab_of(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Makes a lab with one project, `PROJECT`, unless ``world`` gives options of a stand-in."""
    with ExitStack() as stack:

        def make(world: dict[str, Any] | None = None, **block: Any) -> Lab:
            server = stack.enter_context(gitlab(**(world or {})))
            if world is None:
                server.action("create_project", path=PROJECT)
            lab = Lab(server, tmp_path, **block)
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture
def lab(lab_of: Callable[..., Lab]) -> Lab:
    """A lab with one project that was polled once."""
    made = lab_of()
    made.exporter.poll()
    return made


@pytest.fixture
def reports_of(tmp_path: Path) -> Iterator[Callable[..., ReportsLab]]:
    """Makes a lab whose reports of tests are read, with one project, `PROJECT`, unless ``world`` gives
    options of a stand-in."""
    with ExitStack() as stack:

        def make(world: dict[str, Any] | None = None, **block: Any) -> ReportsLab:
            server = stack.enter_context(gitlab(**(world or {})))
            if world is None:
                server.action("create_project", path=PROJECT)
            lab = ReportsLab(server, tmp_path, **block)
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture
def fleet_of(tmp_path: Path) -> Iterator[Callable[..., FleetLab]]:
    """Makes a lab with one project and no runners, polled by an administrator unless
    ``world`` says otherwise."""
    with ExitStack() as stack:

        def make(world: dict[str, Any] | None = None, **block: Any) -> FleetLab:
            options = {"runners": 0, "admin": True, **(world or {})}
            server = stack.enter_context(gitlab(**options))
            server.action("create_project", path=PROJECT)
            lab = FleetLab(server, tmp_path, **block)
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture
def events_of(tmp_path: Path) -> Iterator[Callable[..., EventsLab]]:
    """Makes a lab with one project, `PROJECT`, whose events are read by an administrator unless ``world``
    says otherwise; nothing has happened in it."""
    with ExitStack() as stack:

        def make(world: dict[str, Any] | None = None, **block: Any) -> EventsLab:
            server = stack.enter_context(gitlab(**{"admin": True, **(world or {})}))
            if not (world or {}).get("projects"):
                server.action("create_project", path=PROJECT)
            lab = EventsLab(server, tmp_path, **block)
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture
def deployments_of(tmp_path: Path) -> Iterator[Callable[..., DeploymentsLab]]:
    """Makes a lab with one project, `PROJECT`, unless ``world`` gives options of a stand-in."""
    yield from _labs(DeploymentsLab, tmp_path)


@pytest.fixture
def changes_of(tmp_path: Path) -> Iterator[Callable[..., ChangesLab]]:
    """The same for merge requests, of which the project has two that are open."""
    yield from _labs(ChangesLab, tmp_path)


def _labs(cls: type[L], folder: Path) -> Iterator[Callable[..., L]]:
    with ExitStack() as stack:

        def make(world: dict[str, Any] | None = None, **block: Any) -> L:
            server = stack.enter_context(gitlab(**(world or {})))
            if world is None:
                server.action("create_project", path=PROJECT)
            lab = cls(server, folder, **block)
            stack.callback(lab.close)
            return lab

        yield make
