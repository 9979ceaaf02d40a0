"""The routes, built from callables: nothing in here knows where metrics come from."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.clock import Clock, SystemClock
from exporter.errors import ConfigError, ExporterError
from exporter.model.history import History
from exporter.rendering import Format
from exporter.web.api.routes import api_routes
from exporter.web.groups import EVERYTHING, Group
from exporter.web.hooks import PREFIX, HookDoor, hook_routes
from exporter.web.landing import CONTENT_SECURITY_POLICY, LandingPage, render_landing
from exporter.web.metrics import negotiate, read_filters, wants_gzip
from exporter.web.renders import Renders
from exporter.web.status.page import StatusParts, status_routes
from exporter.web.status.shapes import Standing

__all__ = ["PROBES", "LandingPage", "Render", "WebParts", "build_app", "build_log_level_app"]

T = TypeVar("T")
_TELEMETRY_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
_FOLDERS = re.compile(r"(?<![\w.:/-])/(?:[^\s/:'\"]+/)+(?=[^\s/])")
PROBES = frozenset({"/healthz", "/-/healthy", "/-/ready"})
"""What an orchestrator asks to learn whether the process is well; they tell nothing else."""
_LEVEL_HELP = "send level=LEVEL as the body, with one of debug, info, warning, error"
_LIFECYCLE_OFF = "this is off: set metrics.lifecycle: true or start with --web.enable-lifecycle"
_log = logging.getLogger(__name__)


class Render(Protocol):
    """Gives the exposition."""

    def __call__(
        self, fmt: Format, gzip: bool, names: Sequence[str], collectors: Sequence[str], /
    ) -> Sequence[bytes]:
        """The body in *fmt* in pieces, gzip-coded if asked; empty *names* or *collectors* mean all.

        Raises:
            LookupError: a collector is unknown; the text is a sentence that says which.
        """
        ...


@dataclass(frozen=True, slots=True)
class WebParts:
    """What the server gets from the rest of the program.

    ``render``, ``landing`` and ``reload`` run in threads, up to four at once for each application, and
    ``reload`` never twice at once for one; ``readiness`` and ``set_log_level`` run on a server's loop and
    must answer from memory.
    ``readiness`` gives ``None`` when ready, else the reason. ``reload`` and ``set_log_level`` raise
    :class:`ConfigError` when they refuse. ``lifecycle`` switches both of them on. ``config`` gives the
    configuration as text with every secret masked; ``None`` leaves the route out. ``history`` is what the
    API and the status page answer from, in threads of their own; ``None`` leaves both out. ``standing`` tells
    the page from memory what else it shows; ``None`` leaves it out. Its times are in ``zone``. ``hooks``
    take what sources push; ``None`` leaves them out.
    """

    render: Render
    readiness: Callable[[], str | None]
    landing: Callable[[], LandingPage]
    reload: Callable[[], None]
    set_log_level: Callable[[str], None]
    telemetry_path: str = "/metrics"
    lifecycle: bool = False
    config: Callable[[], str] | None = None
    history: History | None = None
    clock: Clock = field(default_factory=SystemClock)
    standing: Callable[[], Standing] | None = None
    zone: tzinfo = UTC
    hooks: HookDoor | None = None


def build_app(parts: WebParts, groups: Set[Group] = EVERYTHING) -> Starlette:
    """The application for a listener that answers *groups*.

    Raises:
        ConfigError: the telemetry path is no path, or is taken by another route.
    """
    pages = _Pages(parts)
    table = _own_routes(parts, pages)
    path = parts.telemetry_path
    # Against all groups: which of them share an address is another setting.
    taken = {one.path for own in table.values() for one in own}
    # Below /hooks/ no password is asked for, whether or not there are hooks.
    if not _TELEMETRY_PATH.fullmatch(path) or path in taken or path.startswith(PREFIX):
        raise ConfigError(
            f"the telemetry path {path!r} must be a path such as /metrics, and not one of our own"
        )
    table[Group.METRICS] = [Route(path, pages.metrics, methods=["GET"])]
    if path != "/":
        table[Group.METRICS].append(Route("/", pages.landing, methods=["GET"]))
    routes = [route for group in Group if group in groups for route in table[group]]
    pages.paths = frozenset(route.path for route in routes)
    return _application(routes)


def _own_routes(parts: WebParts, pages: _Pages) -> dict[Group, list[Route]]:
    """The endpoints of each group, without those whose path the operator chooses."""
    config = Route("/-/config", pages.config, methods=["GET"])
    return {
        Group.HEALTH: [
            Route("/healthz", _healthz, methods=["GET"]),
            Route("/-/healthy", _healthy, methods=["GET"]),
            Route("/-/ready", pages.ready, methods=["GET"]),
        ],
        Group.ADMIN: [
            Route("/-/reload", pages.reload, methods=["POST", "PUT"]),
            Route("/log_level", pages.log_level, methods=["PUT"]),
            *([config] if parts.config else []),
        ],
        Group.API: _routes_about_runs(parts),
        Group.HOOKS: hook_routes(parts.hooks) if parts.hooks else [],
    }


def _routes_about_runs(parts: WebParts) -> list[Route]:
    """The API and the status page, as far as there is something to answer from."""
    if parts.history is None:
        return []
    routes = api_routes(parts.history, parts.clock)
    if parts.standing is not None:
        routes += status_routes(StatusParts(parts.history, parts.standing, parts.clock, parts.zone))
    return routes


def build_log_level_app(set_log_level: Callable[[str], None]) -> Starlette:
    """The application for a listener of its own that can do no more than change the log level."""

    async def log_level(request: Request) -> Response:
        return await _change_log_level(request, set_log_level)

    return _application(
        [Route("/healthz", _healthz, methods=["GET"]), Route("/log_level", log_level, methods=["PUT"])]
    )


class _Pages:
    """The endpoints that need the parts; ``paths`` are those that this listener answers."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self.paths: frozenset[str] = frozenset()
        self._reloading = asyncio.Lock()
        self._renders = Renders[Sequence[bytes]]()

    async def metrics(self, request: Request) -> Response:
        fmt = negotiate(",".join(request.headers.getlist("accept")))
        gzip = wants_gzip(",".join(request.headers.getlist("accept-encoding")))
        headers = {"content-type": fmt.value, "vary": "Accept, Accept-Encoding"}
        if gzip:
            headers["content-encoding"] = "gzip"
        try:
            filters = read_filters(request.url.query)
            asked = (fmt, gzip, filters.names, filters.collectors)
            body = await self._renders.get(asked, functools.partial(self._parts.render, *asked))
        except (KeyError, IndexError):
            # Also LookupErrors, but of the kind that is a mistake of ours, not of the client.
            raise
        except (LookupError, ExporterError) as exc:
            return _text(str(exc), 400)
        return _InPieces(body, headers)

    async def landing(self, request: Request) -> Response:
        page = await _in_thread(self._parts.landing)
        # What another address answers cannot be linked to: its name is not known from in here.
        links = [(href, text) for href, text in page.links if href[:1] != "/" or href in self.paths]
        html = render_landing(replace(page, links=links))
        return HTMLResponse(html, headers={"content-security-policy": CONTENT_SECURITY_POLICY})

    async def ready(self, request: Request) -> Response:
        reason = self._parts.readiness()
        return _text("ready") if reason is None else _text(f"not ready: {_without_folders(reason)}", 503)

    async def config(self, request: Request) -> Response:
        assert self._parts.config  # noqa: S101  the route is there only with it
        return _text(self._parts.config().rstrip("\n"))

    async def reload(self, request: Request) -> Response:
        if not self._parts.lifecycle:
            return _text(_LIFECYCLE_OFF, 403)
        try:
            async with self._reloading:
                await _in_thread(self._parts.reload)
        except ExporterError as exc:
            return _text(_without_folders(str(exc)), 500)
        return _text("configuration reloaded")

    async def log_level(self, request: Request) -> Response:
        if not self._parts.lifecycle:
            return _text(_LIFECYCLE_OFF, 403)
        return await _change_log_level(request, self._parts.set_log_level)


class _InPieces(Response):
    """A body of several pieces, sent one after the other: joining 20 MB costs more than sending it."""

    def __init__(self, pieces: Sequence[bytes], headers: dict[str, str]) -> None:
        super().__init__(headers={**headers, "content-length": str(sum(map(len, pieces)))})
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _healthz(request: Request) -> Response:
    return _text("ok")


async def _healthy(request: Request) -> Response:
    return _text("ci-exporter is healthy")


async def _change_log_level(request: Request, set_log_level: Callable[[str], None]) -> Response:
    body = (await request.body()).decode("utf-8", "replace").strip()
    fields = {key.strip().lower(): value.strip().lower() for key, value in parse_qsl(body)}
    level = fields.get("level")
    if not level:
        return _text(_LEVEL_HELP, 400)
    try:
        set_log_level(level)
    except ConfigError as exc:
        return _text(f"{exc}\n{_LEVEL_HELP}", 400)
    return _text(f"log level is now {level}")


async def _in_thread(call: Callable[[], T]) -> T:
    """*call*'s result, from the bounded executor that the server gave its loop."""
    return await asyncio.get_running_loop().run_in_executor(None, call)


def _without_folders(sentence: str) -> str:
    """*sentence* with only the names of the files in it: where they lie is for the log, not for a client."""
    return _FOLDERS.sub("", sentence)


def _text(sentence: str, status: int = 200) -> Response:
    return PlainTextResponse(f"{sentence}\n", status)


def _application(routes: list[Route]) -> Starlette:
    app = Starlette(
        routes=routes,
        middleware=[Middleware(_LastResort)],
        exception_handlers={HTTPException: _refused},
    )
    app.router.redirect_slashes = False
    return app


async def _refused(request: Request, exc: Exception) -> Response:
    """The text for what the router itself refuses: 404, and 405 with ``Allow`` in a fixed order."""
    assert isinstance(exc, HTTPException)  # noqa: S101  registered for nothing else
    response = _text(exc.detail, exc.status_code)
    for name, value in (exc.headers or {}).items():
        response.headers[name] = ", ".join(sorted(value.split(", "))) if name.lower() == "allow" else value
    return response


class _LastResort:
    """Around every route: one log line and a plain 500 for what escapes it, and the headers all share."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except Exception:
            _log.exception("%s %r failed", scope.get("method"), scope.get("path"))
            if started:
                raise
            await _text("the exporter failed to answer; its log says why", 500)(scope, receive, send_marked)
