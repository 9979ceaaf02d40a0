"""Signals, waited for by the main thread."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import FrameType


class Signals:
    """The signals *numbers*, collected for the rest of the process' life; built and used by the main thread.

    A handler runs between any two steps of the main thread, also in the middle of another handler and of the
    methods of a lock. So ours take no lock and wake nobody: the interpreter itself writes into the pipe that
    `wait` reads.
    """

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._came: set[int] = set()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._came.add(number)

    def wait(self) -> frozenset[int]:
        """Block until a signal comes; returns all that came since the last call, each once."""
        while not self._came:
            os.read(self._reader, 1 << 16)
        came = frozenset(self._came.copy())
        self._came -= came
        return came
