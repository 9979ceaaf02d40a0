"""Labs: a stand-in GitLab and an exporter that polls it, in time that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import PROJECT, Lab, gitlab


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
