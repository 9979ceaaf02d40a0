"""A stand-in in a thread of this process: as good as another process, and there at once."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from collectors._standin.server import listen, serve
from collectors._standin.site import Site


class InThread:
    """First among the bases of a class, before the `StandIn` of a source."""

    def __init__(self, make_site: Callable[[str], Site]) -> None:
        bound = listen(0)
        bound.listen()  # whoever connects before the thread runs waits for it
        self.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        site = make_site(self.url)
        self.token = site.token
        self._thread = threading.Thread(
            target=self._run, args=(serve(site, bound, self._stopping),), daemon=True
        )
        self._thread.start()
        self._connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)

    def _run(self, serving: Coroutine[Any, Any, None]) -> None:
        self._loop.run_until_complete(serving)
        for transport in list(self._loop._transports.values()):  # type: ignore[attr-defined]
            transport.abort()
        for _ in range(3):
            self._loop.run_until_complete(asyncio.sleep(0))  # connections close in turns of the loop
        self._loop.close()

    def stop(self) -> int:
        """End it."""
        self._connection.close()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        return 0
