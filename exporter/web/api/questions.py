"""How many questions are answered at once, and how long each may take: a scrape must not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from exporter.errors import ExporterError
from exporter.web.renders import Renders

T = TypeVar("T")


class Refused(ExporterError):
    """A question that is not answered now; ``retry_after`` is the wait in seconds that may help."""

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class Questions(Generic[T]):
    """Questions in threads of their own, equal ones together; to be used on one event loop.

    At most ``threads`` are worked on, and ``most`` are open, waiting ones included. One that takes longer
    than ``seconds``, with its wait, is refused; its thread is free again only when its work ends.
    """

    def __init__(self, *, threads: int = 2, most: int = 32, seconds: float = 10.0) -> None:
        self._answers = Renders[T](ThreadPoolExecutor(threads, thread_name_prefix="ci-exporter-api"))
        self._most = most
        self._seconds = seconds
        self._open = 0

    async def answer(self, key: Hashable, ask: Callable[[], T]) -> T:
        """What *ask* returns or raises; it is the same for equal keys.

        Raises:
            Refused: too many are open, or it took too long.
        """
        if self._open >= self._most:
            raise Refused("too many questions are open; ask again in a moment", 1)
        self._open += 1
        try:
            async with asyncio.timeout(self._seconds) as patience:
                return await self._answers.get(key, ask)
        except TimeoutError:
            if not patience.expired():
                raise
            raise Refused("the answer takes too long; ask about less time or fewer projects", 10) from None
        finally:
            self._open -= 1
