"""A stand-in GitHub and a lab that watches it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.githubs import GitHubLab, github

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(scope="session")
def recorded() -> dict[str, Any]:
    """GitHub's own description of its answers."""
    described: dict[str, Any] = json.loads((RECORDED / "schemas.json").read_text())
    return described


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[..., GitHubLab]]:
    """Makes labs with one repository, ``acme/p``, that has been polled once."""
    with ExitStack() as stack:

        def make(**block: Any) -> GitHubLab:
            server = stack.enter_context(github())
            server.action("create_project", path="acme/p")
            lab = GitHubLab(server, tmp_path, **block)
            stack.callback(lab.close)
            lab.exporter.poll()
            lab.calls()
            return lab

        yield make


@pytest.fixture
def lab(make_lab: Callable[..., GitHubLab]) -> GitHubLab:
    """One with the usual options."""
    return make_lab()
