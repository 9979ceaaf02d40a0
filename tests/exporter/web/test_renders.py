from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from exporter.web.renders import Renders

PATIENCE = 60.0


class Kitchen:
    """Calls that wait until they are let on, in two threads."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.goes_on = threading.Event()
        self.calls = 0

    def cook(self) -> int:
        self.calls += 1
        number = self.calls
        self.begun.release()
        assert self.goes_on.wait(PATIENCE)
        return number


def _ask(kitchen: Kitchen, renders: Renders[int], key: str = "a") -> asyncio.Task[int]:
    return asyncio.ensure_future(renders.get(key, kitchen.cook))


async def _begin(kitchen: Kitchen) -> None:
    # Tasks first get their turn to ask.
    await asyncio.sleep(0)
    # Not the executor of the loop, whose threads are what is waited for.
    with ThreadPoolExecutor(1) as aside:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(aside, kitchen.begun.acquire, True, PATIENCE)


async def _with_two_threads_busy(kitchen: Kitchen, renders: Renders[int]) -> list[asyncio.Task[int]]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    busy = []
    for _ in range(2):
        busy.append(_ask(kitchen, renders))
        await _begin(kitchen)
    return busy


def test_who_asks_while_the_same_waits_shares_it_and_who_asks_later_does_not() -> None:
    async def scenario() -> list[int]:
        kitchen, renders = Kitchen(), Renders[int]()
        asked = await _with_two_threads_busy(kitchen, renders)
        asked += [_ask(kitchen, renders) for _ in range(5)]
        await asyncio.sleep(0)
        kitchen.goes_on.set()
        served = await asyncio.gather(*asked)
        return [*served, await _ask(kitchen, renders)]

    assert asyncio.run(scenario()) == [1, 2, 3, 3, 3, 3, 3, 4]


def test_what_is_asked_differently_is_not_shared() -> None:
    async def scenario() -> list[int]:
        kitchen, renders = Kitchen(), Renders[int]()
        asked = await _with_two_threads_busy(kitchen, renders)
        asked += [_ask(kitchen, renders, "a"), _ask(kitchen, renders, "b")]
        await asyncio.sleep(0)
        kitchen.goes_on.set()
        return sorted(await asyncio.gather(*asked))

    assert asyncio.run(scenario()) == [1, 2, 3, 4]


def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    async def scenario() -> int:
        kitchen, renders = Kitchen(), Renders[int]()
        busy = await _with_two_threads_busy(kitchen, renders)
        leaver, stayer = _ask(kitchen, renders), _ask(kitchen, renders)
        await asyncio.sleep(0)
        leaver.cancel()
        kitchen.goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        await asyncio.gather(*busy)
        return await stayer

    assert asyncio.run(scenario()) == 3


def test_an_error_goes_to_everybody_and_is_not_kept() -> None:
    async def scenario() -> None:
        renders = Renders[int]()

        def fail() -> int:
            raise LookupError("no such thing")

        with pytest.raises(LookupError, match="no such thing"):
            await renders.get("a", fail)
        assert await renders.get("a", lambda: 7) == 7

    asyncio.run(scenario())
