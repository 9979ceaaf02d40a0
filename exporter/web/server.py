"""The opt-in HTTP server: an event loop in a thread of its own, on sockets that were bound before."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, cast

from starlette.types import ASGIApp
from uvicorn import Config

from exporter.clock import Clock, SystemClock
from exporter.errors import ExporterError
from exporter.web.contexts import Contexts
from exporter.web.door import TlsTransport
from exporter.web.limits import BACKLOG, DEFAULT_LIMITS, Limits
from exporter.web.listen import address_of, bind
from exporter.web.protocol import Connections, GuardedProtocol
from exporter.web.webconfig import TlsConfig
from exporter.web.whole import WholeMessages

__all__ = ["DEFAULT_LIMITS", "Limits", "WebServer", "bind"]

_STOP_RESERVE_SECONDS = 0.5
_log = logging.getLogger(__name__)


class WebServer:
    """One application served on some sockets, from :meth:`start` until :meth:`stop`; not to be reused.

    ``addresses`` are the places it listens on, as ``host:port`` or ``unix:/path``. *tls* is asked at each new
    connection; plain HTTP is when it, or what it returns, is ``None``. *headers* gives those of answers that
    the application has no part in; *refused* hears of those that are about a request: its target and status.
    The default executor of its loop is bounded: ``limits.workers`` threads.
    """

    def __init__(
        self,
        app: ASGIApp,
        sockets: Sequence[socket.socket],
        limits: Limits = DEFAULT_LIMITS,
        *,
        tls: Callable[[], TlsConfig | None] | None = None,
        headers: Callable[[], Mapping[str, str]] = dict,
        refused: Callable[[str, int], None] = lambda _target, _status: None,
        clock: Clock | None = None,
    ) -> None:
        self.addresses = [address_of(one) for one in sockets]
        self._config = _uvicorn_config(WholeMessages(app))
        self._sockets = list(sockets)
        self._limits = limits
        self._headers = headers
        self._refused = refused
        self._clock = clock or SystemClock()
        self._contexts = Contexts(tls or _no_tls, self._clock)
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._stop_seconds = 0.0
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="ci-exporter-web", daemon=True)

    def start(self) -> None:
        """Return once connections are accepted.

        Raises:
            ExporterError: the server could not start; its sockets are closed.
        """
        self._thread.start()
        failure = self._ready.exception()
        if failure is not None:
            self._thread.join()
            raise ExporterError(f"the web server did not start: {failure}") from failure

    def stop(self, timeout: float = 5.0) -> None:
        """Refuse new connections at once, finish the requests in flight, and return within *timeout* seconds.

        Whoever is not waiting for an answer is cut at once, whoever does not read theirs at half time,
        the rest at the end. The port is free again when this returns. Calling it twice does no harm.
        """
        if self._thread.is_alive():
            self._stop_seconds = max(0.0, timeout - _STOP_RESERVE_SECONDS)
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(timeout)
            if self._thread.is_alive():
                _log.error("the web server did not stop within %g seconds", timeout)
        elif not self._loop.is_closed():
            self._close()

    def turns(self, seconds: float) -> bool:
        """Whether the event loop gets to something new within *seconds*; false once stopped."""
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:
            return False
        return turned.wait(seconds)

    def certificate_not_after(self) -> datetime | None:
        """Until when the TLS certificate of now is valid; ``None`` for plain HTTP. Any thread may ask."""
        return self._contexts.not_after()

    def _run(self) -> None:
        executor = ThreadPoolExecutor(self._limits.workers, thread_name_prefix="ci-exporter-web")
        self._loop.set_default_executor(executor)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as exc:  # noqa: BLE001  above this frame nobody would hear of it
            if self._ready.done():
                _log.exception("the web server failed")
            else:
                self._ready.set_exception(exc)
        finally:
            # Not waited for: a thread stuck in a render must not hold up the stop.
            executor.shutdown(wait=False, cancel_futures=True)
            self._close()

    def _close(self) -> None:
        for one in self._sockets:
            one.close()
        self._loop.close()

    async def _serve(self) -> None:
        self._contexts.check()
        shared = Connections(self._limits, self._clock, self._headers, self._refused)
        listeners = [await self._listen(one, shared) for one in self._sockets]
        self._ready.set_result(None)
        await self._stopping.wait()
        # asyncio forgets to close a connection that it accepted in the turn in which the listener closes,
        # so there must be no such turn.
        for one in self._sockets:
            self._loop.remove_reader(one)
        await asyncio.sleep(0)
        for listener in listeners:
            listener.close()
        await _drain(shared, self._stop_seconds)

    async def _listen(self, bound: socket.socket, shared: Connections) -> asyncio.Server:
        return await self._loop.create_server(lambda: self._protocol(shared), sock=bound, backlog=BACKLOG)

    def _protocol(self, shared: Connections) -> GuardedProtocol | TlsTransport:
        """Who speaks to the next client, by the settings of now."""
        tls = self._contexts.wanted()
        guarded = GuardedProtocol(self._config, shared, self._loop, tls=tls)
        return TlsTransport(guarded, self._contexts) if tls else guarded


def _no_tls() -> None:
    return None


def _uvicorn_config(app: ASGIApp) -> Config:
    """What uvicorn's protocol needs to know; its own server, logging and signal handling stay unused."""
    config = Config(
        cast("Any", app),
        interface="asgi3",
        http=GuardedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=1,
    )
    config.load()
    return config


async def _drain(shared: Connections, seconds: float) -> None:
    """End every connection and task within *seconds*."""
    shared.draining = True
    for connection in shared.guarded():
        connection.drain(seconds / 2)
    shared.note_closed()
    try:
        await asyncio.wait_for(shared.gone.wait(), seconds)
    except TimeoutError:
        _log.warning("%d connections were cut at the stop", len(shared.connections))
    for connection in shared.guarded():
        connection.cut()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # One turn to make a connection that was just accepted, one to cut it, one to close its socket.
    for _ in range(3):
        await asyncio.sleep(0)
