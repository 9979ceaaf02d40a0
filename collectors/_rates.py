"""How fast a source may be asked: evenly spaced calls, and silence when it wants to be left alone."""

from __future__ import annotations

import threading
import time

from exporter.errors import SourceError, Stopped

LONGEST_PAUSE_SECONDS = 60.0  # a source that wants to be left alone for longer gets its poll back later
LONGEST_SILENCE_SECONDS = 86_400.0  # whatever a header says, we ask again after a day


class RateLimiter:
    """Lets all threads of a collector together make at most so many calls a second.

    A call takes the next free slot and waits for it. Slots that nobody used in the last moment may be
    made up for, so that threads that were busy parsing do not cost throughput; over any second the
    rate holds, give or take that burst.
    """

    def __init__(self, per_second: float, stopping: threading.Event, *, burst_seconds: float = 0.2) -> None:
        self._gap = 1 / per_second
        self._burst = burst_seconds
        self._stopping = stopping
        self._lock = threading.Lock()
        self._next = 0.0
        self._silent_until = 0.0

    def wait(self) -> None:
        """Wait for the next slot.

        Raises:
            Stopped: the program stops meanwhile.
            SourceError: the source wants to be left alone for so long that waiting would tie up a thread.
        """
        while True:
            with self._lock:
                now = time.monotonic()
                silence = self._silent_until - now
                slot = max(self._next, now - self._burst)
                if silence <= LONGEST_PAUSE_SECONDS:
                    self._next = slot + self._gap
            if silence > LONGEST_PAUSE_SECONDS:
                raise SourceError(
                    "the source asked to be left alone for a while", retry_after=silence, permanent=True
                )
            self._sleep(slot - now)
            # A pause that began during this sleep holds for the sleeper, too.
            if slot >= self._silent_until:
                return

    def pause(self, seconds: float) -> None:
        """Let no call start for *seconds*."""
        with self._lock:
            until = time.monotonic() + min(seconds, LONGEST_SILENCE_SECONDS)
            self._silent_until = max(self._silent_until, until)
            self._next = max(self._next, self._silent_until)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and self._stopping.wait(seconds):
            raise Stopped("stopping")
        if self._stopping.is_set():
            raise Stopped("stopping")
