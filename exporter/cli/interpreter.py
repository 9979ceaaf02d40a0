"""Settings of the interpreter for a service of many threads: less memory kept, scrapes answered sooner."""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8  # of glibc's malloc.h
_SWITCH_SECONDS = 0.0005


def tune() -> None:
    """Set all of it; to be called before the first thread starts."""
    _share_heap()
    # A scrape goes through several threads, and at each step it waits until whoever computes gives up
    # Python's lock: 5 ms by default. Rounds that render many series would make it several times slower.
    sys.setswitchinterval(_SWITCH_SECONDS)


def _share_heap() -> None:
    """Let all threads allocate from one heap.

    glibc gives each thread a heap of its own, and each of these keeps the memory of the largest answer that
    the thread ever read. Python's lock lets one of them allocate at a time anyway. Elsewhere than with glibc
    this does nothing.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        return
