"""``POST /hooks/…``: what a source pushes is proven, queued and acknowledged; nothing is read in here."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.clock import Clock
from exporter.config.hooks import MOST_HEADERS_BYTES
from exporter.hookmetrics import HookMetrics, Result
from exporter.hooks import AcceptsHooks, Hook
from exporter.store.inbox import Arrived, digest_of
from exporter.store.intake import Intake, Outcome

log = logging.getLogger(__name__)

PREFIX = "/hooks/"
"""What the paths of all hooks begin with."""
_SECONDS = 8.0  # senders give up after ten
_RETRY_SECONDS = "30"
_LARGE_BYTES = 128 * 1024  # takes longer to prove than a turn of the loop may last
_READ = ("content-type", "x-")
"""How headers begin that reading may need: what happened, from where."""
_NOT_KEPT = ("token", "signature", "secret", "auth", "cookie", "password", "api-key", "forwarded", "real-ip")
"""What the others hold: proofs, which nobody needs any more, and where the sender is."""


@dataclass(frozen=True, slots=True)
class HookDoor:
    """What the endpoint gets from the rest of the program.

    ``accepting`` gives ``(collector, itself)`` of all that accept hooks under the last part of a path.
    """

    accepting: Callable[[str], Sequence[tuple[str, AcceptsHooks]]]
    intake: Intake
    metrics: HookMetrics
    clock: Clock
    complained: set[str] = field(default_factory=set)
    returns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Returns] = field(default_factory=WeakKeyDictionary)

    async def answer(self, request: Request) -> Response:
        """The answer to one hook."""
        accepting = self.accepting(request.path_params["name"])
        if not accepting:
            return _text("there are no hooks of that name here", 404)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            return _text("send hooks without a content coding", 415)
        hook = Hook(_headers(request), await request.body(), self.clock.now())
        proven = await self._proven(accepting, hook)
        if not proven:
            return self._refuse(accepting)
        # All are offered before the first is waited for.
        outcomes = [await one for one in [self._keep(name, one, hook) for name, one in proven]]
        if not {Outcome.NO_ROOM, Outcome.NOT_KEPT}.isdisjoint(outcomes):
            return _text("hooks cannot be kept just now; send it again later", 503, _RETRY_SECONDS)
        if Outcome.KEPT in outcomes:
            return _text("accepted", 202)
        return _text("this hook came before")

    def refused(self, target: str, status: int) -> None:
        """Count a request for *target* that the server itself refused with *status*."""
        result = _RESULTS_OF_SERVER.get(status)
        path = target.partition("?")[0]
        if result and path.startswith(PREFIX):
            for name, _ in self.accepting(path.removeprefix(PREFIX)):
                self.metrics.count(name, result)

    async def _proven(
        self, accepting: Sequence[tuple[str, AcceptsHooks]], hook: Hook
    ) -> list[tuple[str, AcceptsHooks]]:
        """Those of *accepting* that take *hook* for authentic."""

        def prove() -> list[tuple[str, AcceptsHooks]]:
            return [(name, one) for name, one in accepting if self._is_authentic(name, one, hook)]

        if len(hook.body) <= _LARGE_BYTES:
            return prove()
        return await asyncio.get_running_loop().run_in_executor(None, prove)

    def _is_authentic(self, name: str, collector: AcceptsHooks, hook: Hook) -> bool:
        try:
            return collector.hook_is_authentic(hook)
        except Exception:
            # A bug of the collector's is no proof; nor must anyone be able to fill the log with it.
            if name not in self.complained:
                log.exception("a hook could not be proven", extra={"collector": name})
            return False

    def _refuse(self, accepting: Sequence[tuple[str, AcceptsHooks]]) -> Response:
        for name, _ in accepting:
            self.metrics.count(name, Result.REFUSED)
            # Once: anyone can send as many as they like.
            level = logging.DEBUG if name in self.complained else logging.WARNING
            self.complained.add(name)
            log.log(
                level,
                "a hook was refused: the sender does not prove itself with the configured secret",
                extra={"collector": name},
            )
        return _text("the hook does not prove where it comes from", 401)

    def _keep(self, name: str, collector: AcceptsHooks, hook: Hook) -> asyncio.Future[Outcome]:
        """How the attempt to keep *hook* for the collector *name* ends."""
        self.metrics.received(name, hook.received_at)
        digest = digest_of(name, hook, collector.hook_id(hook))
        kept = Hook(_kept(hook.headers), hook.body, hook.received_at)
        ended = self._offer(Arrived(name, digest, kept))
        ended.add_done_callback(partial(self._count, name))
        return ended

    def _count(self, name: str, ended: asyncio.Future[Outcome]) -> None:
        if not ended.cancelled():  # else the server was stopped first
            self.metrics.count(name, _RESULTS[ended.result()])

    def _offer(self, arrived: Arrived) -> asyncio.Future[Outcome]:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Outcome] = loop.create_future()
        returns = self.returns.setdefault(loop, _Returns(loop))
        # It may be kept all the same; then the next attempt is a repetition.
        late = loop.call_later(_SECONDS, _settle, ended, Outcome.NOT_KEPT)
        ended.add_done_callback(lambda _: late.cancel())
        self.intake.offer(arrived, partial(returns.put, ended))
        return ended


class _Returns:
    """How attempts ended, on the way back to the *loop* that waits; any thread may put.

    The loop is woken once for many: each time is a call of the kernel, beside which it takes its turn.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[asyncio.Future[Outcome], Outcome]] = deque()
        self._woken = False

    def put(self, ended: asyncio.Future[Outcome], outcome: Outcome) -> None:
        """Have *ended* end with *outcome*."""
        self._waiting.append((ended, outcome))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._take)
            except RuntimeError:
                log.debug("the web server ended before a hook was answered")

    def _take(self) -> None:
        self._woken = False  # first: what is put from now on may come too late for this time
        while self._waiting:
            _settle(*self._waiting.popleft())


def _settle(ended: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not ended.done():
        ended.set_result(outcome)


_RESULTS = {
    Outcome.KEPT: Result.ACCEPTED,
    Outcome.KNOWN: Result.DUPLICATE,
    Outcome.NO_ROOM: Result.REJECTED,
    Outcome.NOT_KEPT: Result.REJECTED,
}
_RESULTS_OF_SERVER = {413: Result.TOO_LARGE, 503: Result.REJECTED}


def hook_routes(door: HookDoor) -> list[Route]:
    """The endpoint of all hooks."""
    return [Route(f"{PREFIX}{{name}}", door.answer, methods=["POST"])]


def _headers(request: Request) -> Mapping[str, str]:
    """All headers; one that came several times is nobody's proof, and stays out."""
    found: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        found.setdefault(name, []).append(value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of *headers* that reading may need, and no proofs: what is stored may be read by others."""
    kept = {
        name: value
        for name, value in headers.items()
        if name.startswith(_READ) and not any(word in name for word in _NOT_KEPT)
    }
    return kept if sum(len(name) + len(value) for name, value in kept.items()) <= MOST_HEADERS_BYTES else {}


def _text(sentence: str, status: int = 200, retry_after: str = "") -> Response:
    headers = {"retry-after": retry_after} if retry_after else None
    return PlainTextResponse(f"{sentence}\n", status, headers)
