"""One heap for all threads, so that what a large answer took is given back."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # of glibc's malloc.h


def share_heap() -> None:
    """Let all threads allocate from one heap; to be called before the first of them starts.

    glibc gives each thread a heap of its own, and each of these keeps the memory of the largest answer that
    the thread ever read. Python's lock lets one of them allocate at a time anyway. Elsewhere than with glibc
    this does nothing.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        return
