"""The real program under attack, and a check after each test that no answer told what it must not."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.attack import SECRETS, STORE, Siege, Target
from tests.support.process import ROOT
from tests.support.wire import HEALTH, SCRAPE, heard, leaks

PRIVATE = (STORE, str(ROOT), sys.prefix, tempfile.gettempdir())
MakeTarget = Callable[..., Target]


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The program, serving; most tests share it, and leave it as it was."""
    with Target(tmp_path_factory.mktemp("target"), lifecycle=True) as target:
        yield target.start().wait_built()


@pytest.fixture
def make_target(tmp_path: Path) -> Iterator[MakeTarget]:
    """Makes programs of a test's own, with little to show; not started."""
    with ExitStack() as stack:

        def make(
            *, bricks: int = 10, name: str = "target", measured: bool = False, **metrics: object
        ) -> Target:
            return stack.enter_context(
                Target(tmp_path, bricks=bricks, name=name, measured=measured, **metrics)
            )

        yield make


@pytest.fixture(scope="session")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """A program with all kinds of slow clients at once, none of which crowds out another."""
    with Target(tmp_path_factory.mktemp("siege")) as target:
        target.start().wait_built()
        target.ask("/metrics", "Accept-Encoding: gzip")
        siege = Siege(target)
        siege.add("slow header", 50, b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: ", drip=b"x")
        put = b"PUT /log_level HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
        siege.add("slow body", 20, put, drip=b"x")
        siege.add("silent", 30, b"")
        siege.add("idle", 5, HEALTH)
        siege.add("slow reader", 40, SCRAPE, reads=False)
        with siege:
            yield siege


@pytest.fixture(autouse=True)
def discretion() -> Iterator[None]:
    """After each test: nothing that the program answered told a secret, a path or a traceback."""
    heard.clear()
    yield
    assert leaks(heard, SECRETS, PRIVATE) == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The siege begins with the first test, and who waits longest for its outcome comes last."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if "siege" not in getattr(item, "fixturenames", ()):
        return 1
    return 2 if "idle" in item.name else 0
