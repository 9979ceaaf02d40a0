"""One stand-in of a source for the demo of all of its collectors: they show sides of the same world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter.contract import DemoSource


class OneStandIn:
    """The stand-in of a source, started when the first of its collectors asks for it."""

    def __init__(self, start: Callable[[Path], DemoSource]) -> None:
        self._start = start
        self._started: dict[Path, DemoSource] = {}

    def source(self, directory: Path) -> DemoSource:
        """The running stand-in of *directory*; whoever asks first is to end it, and have it send hooks."""
        if (known := self._started.get(directory)) is not None:
            return DemoSource(known.block, known.title, ())
        self._started[directory] = self._start(directory)
        return self._started[directory]


def seen_as(source: DemoSource, title: str, keys: Sequence[str] = (), **more: Any) -> DemoSource:
    """*source* with another title, and a block of its *keys*, all of them unless named, and of *more*.

    Not of ``hooks``: the collector whose block it is reads them, and the others of its source poll.
    """
    block = {key: source.block[key] for key in keys or source.block if key != "hooks"}
    return replace(source, block=block | more, title=title)
