"""One rendering for all who ask for the same before it begins."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Executor
from typing import Generic, TypeVar

T = TypeVar("T")


class _Rendering(Generic[T]):
    """One call that waits for a thread, or runs in it since ``begun``.

    ``asking`` want its result; it is ``given_up`` when none is left of them.
    """

    def __init__(self, call: Callable[[], T], executor: Executor | None) -> None:
        self.begun = False
        self.given_up = False
        self.asking = 0
        self._call = call
        self.result = asyncio.get_running_loop().run_in_executor(executor, self._run)

    def _run(self) -> T:
        # First: whoever joined after that might see less than there is by then.
        self.begun = True
        # The executor learns of a cancelled future a moment later: until then it would still begin.
        if self.given_up:
            raise CancelledError
        return self._call()


class Renders(Generic[T]):
    """Calls in *executor*, by default the loop's, that are the same for equal keys; for one event loop.

    Whoever asks while the same waits for a thread joins it: a crowd of scrapers costs little more than as
    many renderings as there are threads, and each still sees all that happened before it asked. What waits
    for a thread when the last who asked is gone does not run.
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor
        self._newest: dict[Hashable, _Rendering[T]] = {}

    async def get(self, key: Hashable, call: Callable[[], T]) -> T:
        """What *call* returns or raises, called once for all who join."""
        rendering = self._newest.get(key)
        if rendering is None or rendering.begun:
            rendering = self._newest[key] = _Rendering(call, self._executor)
            rendering.result.add_done_callback(functools.partial(self._forget, key, rendering))
        rendering.asking += 1
        try:
            # Shielded: one client that is cut must not take the answer from the others.
            return await asyncio.shield(rendering.result)
        finally:
            rendering.asking -= 1
            if not rendering.asking and not rendering.result.done():
                self._forget(key, rendering)
                rendering.given_up = True
                rendering.result.cancel()

    def _forget(self, key: Hashable, rendering: _Rendering[T], _done: object = None) -> None:
        if self._newest.get(key) is rendering:
            del self._newest[key]
