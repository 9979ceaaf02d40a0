"""How far long work is: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import TextIO

log = logging.getLogger(__name__)

_WIDTH = 30
_BAR_SECONDS = 0.1
_LOG_SECONDS = 10.0


class ProgressBar:
    """Shows ``done`` of ``total`` with a note; safe to call as often as one likes."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._stream = stream
        self._terminal = stream.isatty()
        self._last = float("-inf")
        self._shown = False

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._terminal and self._shown:
            self._stream.write("\n")

    def show(self, done: int, total: int, note: str) -> None:
        """Say that *done* of *total* is complete."""
        now = time.monotonic()
        complete = done >= total
        if now - self._last < (_BAR_SECONDS if self._terminal else _LOG_SECONDS) and not complete:
            return
        self._last = now
        if not self._terminal:
            log.info(self._title, extra={"done": done, "total": total, "note": note})
            return
        self._shown = True
        filled = _WIDTH * done // max(total, 1)
        bar = "#" * filled + "." * (_WIDTH - filled)
        self._stream.write(f"\r{self._title} [{bar}] {done}/{total}  {note}\x1b[K")
        self._stream.flush()
