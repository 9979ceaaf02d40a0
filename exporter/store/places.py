"""Places of which each is for one at a time: who finds none waits in line."""

from __future__ import annotations

import threading
from collections import deque


class Places:
    """So many places, given away in the order in which they are asked for; for use with ``with``.

    A semaphore, or the pool of connections, lets whoever just left in again before those who wait: among
    many, some would wait for ever. Nobody who has a place may ask for another.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._turn = threading.Lock()
        self._line: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._turn:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._line.append(mine)
        mine.acquire()  # which the one who leaves makes possible, and whose place is ours then

    def __exit__(self, *_: object) -> None:
        with self._turn:
            if self._line:
                self._line.popleft().release()
            else:
                self._free += 1
