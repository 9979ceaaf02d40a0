"""A stand-in Gitea with two repositories, watched as a whole, and what a real one answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.giteas import GiteaLab, gitea

RECORDED = Path(__file__).parent / "recorded" / "1.27.3"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[GiteaLab]:
    with gitea() as server:
        for path in ("acme/p", "acme/q"):
            server.action("create_project", path=path)
        made = GiteaLab(server, tmp_path)
        made.exporter.poll()
        yield made
        made.close()


@pytest.fixture
def recorded() -> Callable[[str], Any]:
    """The body that a real Gitea answered, by the name of the file."""
    return lambda name: json.loads((RECORDED / f"{name}.json").read_text())["body"]
