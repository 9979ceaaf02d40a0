"""Reading small files of the operator's such that a later change of any of them is noticed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from exporter.config.files import Unreadable, reading, within

Stamp = tuple[int, ...] | None
"""What tells one content of a file from the next; ``None`` when there is no file to look at."""


class Stamped:
    """Files as they were read, and what they looked like then; :meth:`changed` costs one stat for each."""

    def __init__(self) -> None:
        self._seen: dict[Path, Stamp] = {}

    def read(self, path: Path, limit: int) -> bytes:
        """The content of *path*.

        Raises:
            Unreadable: it is missing, not a regular file, forbidden or larger than *limit* bytes.
        """
        self._seen[path] = _stamp(path)
        # Not waiting: opening a FIFO would take until somebody writes to it, and that may be never.
        with reading(), open(path, "rb", opener=_without_waiting) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise Unreadable("this is not a regular file")
            self._seen[path] = _known(about)
            return within(file, limit)

    def changed(self) -> bool:
        """Whether any file that was read, or could not be read, is not what it was."""
        return any(_stamp(path) != stamp for path, stamp in self._seen.items())


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _stamp(path: Path) -> Stamp:
    try:
        return _known(path.stat())
    except (OSError, ValueError):
        return None


def _known(about: os.stat_result) -> Stamp:
    # The time of the last chmod or chown too: what could not be read may be readable after it.
    return (about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino, about.st_dev)
