"""A stand-in as a process of its own: announced on stdout, ended by a signal or with its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Callable

from collectors._standin.server import listen, serve
from collectors._standin.site import Site

_PARENT_CHECK_SECONDS = 0.25
_MOVE_SECONDS = 0.25


def run(make_site: Callable[[str], Site], port: int, *, exit_with_parent: bool) -> None:
    """Serve what *make_site* makes for its URL until told to stop; port 0 takes any free one."""
    asyncio.run(_run(make_site, port, exit_with_parent))


async def _run(make_site: Callable[[str], Site], port: int, exit_with_parent: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if exit_with_parent:
        _watch_parent(stopping)
    bound = listen(port)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    site = make_site(url)
    serving = asyncio.create_task(serve(site, bound, stopping))
    moving = asyncio.create_task(_move(site))
    await asyncio.sleep(0)
    sys.stdout.write(f"listening on {url}\n")
    sys.stdout.flush()
    await serving
    moving.cancel()


async def _move(site: Site) -> None:
    while True:
        await asyncio.sleep(_MOVE_SECONDS)
        site.move()


def _watch_parent(stopping: asyncio.Event) -> None:
    loop, parent = asyncio.get_running_loop(), os.getppid()

    def look() -> None:
        if os.getppid() != parent:
            stopping.set()
        else:
            loop.call_later(_PARENT_CHECK_SECONDS, look)

    def read() -> None:
        if not os.read(0, 4096):
            stopping.set()

    look()
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, read)
