"""Waking who waits for what this process puts into the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Bells:
    """Those who wait, each by a bell of its own; what other processes put in is seen by looking.

    Any thread may call.
    """

    def __init__(self) -> None:
        self._bells: set[threading.Event] = set()

    def ring(self) -> None:
        """Wake all: something was put in, and the transaction that did so is committed."""
        for bell in tuple(self._bells):
            bell.set()

    @contextmanager
    def bell(self) -> Iterator[threading.Event]:
        """Something that is set at every :meth:`ring` during this block; to be cleared by who waits."""
        bell = threading.Event()
        self._bells.add(bell)
        try:
            yield bell
        finally:
            self._bells.discard(bell)
