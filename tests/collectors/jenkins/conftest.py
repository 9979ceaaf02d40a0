"""Labs: a stand-in Jenkins and an exporter that polls it, in time that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from collectors.jenkins.standin.client import StandIn
from tests.support.harness import PROJECT, Lab
from tests.support.jenkins import JenkinsLab, jenkins


@pytest.fixture
def lab_of(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Makes a lab with one multibranch project, `PROJECT`, unless ``kind`` says what it is.

    ``world`` and ``site`` are for the stand-in, ``before`` does something with it first, everything else is
    for the block of the configuration.
    """
    with ExitStack() as stack:

        def make(
            world: dict[str, Any] | None = None,
            site: dict[str, Any] | None = None,
            kind: str | None = "multibranch",
            before: Callable[[StandIn], None] = lambda _: None,
            **block: Any,
        ) -> Lab:
            server = stack.enter_context(jenkins(world=world or {}, **(site or {})))
            if kind:
                server.action("create_project", path=PROJECT, kind=kind)
            before(server)
            if site and "prefix" in site:
                block["url"] = server.url + site["prefix"]
            lab = JenkinsLab(server, tmp_path, **block)
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture
def lab(lab_of: Callable[..., Lab]) -> Lab:
    """A lab with one multibranch project that was polled once."""
    made = lab_of()
    made.exporter.poll()
    return made
