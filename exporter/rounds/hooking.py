"""How far the hooks of one unit can be relied upon: while they bring the news, polls only look after them."""

from __future__ import annotations

from dataclasses import dataclass

_LASTING_SECONDS = 3600.0


@dataclass(slots=True)
class Hooking:
    """What hooks and polls of one unit say about each other; times are monotonic.

    Hooks are relied upon from the first one, until a poll finds the end of something that no hook told, or
    none came for an hour.
    """

    last: float | None = None
    woken: bool = False

    def came(self, now: float, *, wakes: bool) -> None:
        """A hook came; one that *wakes* only says that a poll will find something."""
        self.last = now
        self.woken = self.woken or wakes

    def begin_poll(self) -> bool:
        """Whether the poll that begins was asked for by a hook, so that what it finds is the hook's news."""
        woken, self.woken = self.woken, False
        return woken

    def missed(self) -> None:
        """A poll found what a hook should have told: some get lost."""
        self.last = None

    def relied_on(self, now: float) -> bool:
        """Whether polls may be rare."""
        return self.last is not None and now - self.last < _LASTING_SECONDS
