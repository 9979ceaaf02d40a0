"""How fast a source may be asked: evenly spaced calls, and silence when it wants to be left alone."""

from __future__ import annotations

import threading
import time
from weakref import WeakKeyDictionary, WeakValueDictionary

from exporter.errors import SourceError, Stopped

LONGEST_PAUSE_SECONDS = 60.0  # a source that wants to be left alone for longer gets its poll back later
LONGEST_SILENCE_SECONDS = 86_400.0  # whatever a header says, we ask again after a day


class Pace:
    """Gives out the slots of calls, so many a second, to all who share it.

    Slots that nobody used in the last moment may be made up for, so that threads that were busy parsing do
    not cost throughput; over any second the rate holds, give or take that burst.
    """

    def __init__(self, per_second: float, burst_seconds: float = 0.2) -> None:
        self._gap = 1 / per_second
        self._burst = burst_seconds
        self._lock = threading.Lock()
        self._next = 0.0

    def take(self) -> float:
        """The next free slot, an instant of the monotonic clock; it is ours."""
        with self._lock:
            slot = max(self._next, time.monotonic() - self._burst)
            self._next = slot + self._gap
            return slot


_Paces = WeakValueDictionary[tuple[str, float], Pace]
_paces: WeakKeyDictionary[threading.Event, _Paces] = WeakKeyDictionary()
_paces_lock = threading.Lock()


def shared_pace(host: str, per_second: float, program: threading.Event) -> Pace:
    """The one pace of all who ask for *host* and that number in the *program* that this event stops."""
    with _paces_lock:
        paces = _paces.setdefault(program, _Paces())
        pace = paces.get((host, per_second))
        if pace is None:
            pace = paces[host, per_second] = Pace(per_second)
        return pace


class RateLimiter:
    """Lets all threads of a collector together make at most so many calls a second.

    A call takes the next free slot and waits for it. With a *pace*, it shares the slots with others; a
    silence is of this one alone, since sources measure by token what they allow.
    """

    def __init__(
        self,
        per_second: float,
        stopping: threading.Event,
        *,
        burst_seconds: float = 0.2,
        pace: Pace | None = None,
    ) -> None:
        self._pace = pace or Pace(per_second, burst_seconds)
        self._stopping = stopping
        self._lock = threading.Lock()
        self._silent_until = 0.0

    def wait(self) -> None:
        """Wait for the next slot.

        Raises:
            Stopped: the program stops meanwhile.
            SourceError: the source wants to be left alone for so long that waiting would tie up a thread.
        """
        while True:
            silence = self._silent_until - time.monotonic()
            if silence > LONGEST_PAUSE_SECONDS:
                raise SourceError(
                    "the source asked to be left alone for a while", retry_after=silence, permanent=True
                )
            # First, so that no slot is taken meanwhile from those who may call.
            self._sleep(silence)
            slot = self._pace.take()
            self._sleep(slot - time.monotonic())
            # A pause that began during this sleep holds for the sleeper, too.
            if time.monotonic() >= self._silent_until:
                return

    def pause(self, seconds: float) -> None:
        """Let no call start for *seconds*."""
        with self._lock:
            until = time.monotonic() + min(seconds, LONGEST_SILENCE_SECONDS)
            self._silent_until = max(self._silent_until, until)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and self._stopping.wait(seconds):
            raise Stopped("stopping")
        if self._stopping.is_set():
            raise Stopped("stopping")
