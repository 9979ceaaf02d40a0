"""The routes of the status page: rendered on the server, with a style sheet and a script of its own."""

from __future__ import annotations

import asyncio
import functools
import gzip
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from importlib import resources
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter import __version__
from exporter.clock import Clock
from exporter.errors import ExporterError
from exporter.model.history import History
from exporter.web.api.questions import Questions, Refused
from exporter.web.metrics import wants_gzip
from exporter.web.status.answers import ask
from exporter.web.status.filters import read
from exporter.web.status.shapes import Head, Standing
from exporter.web.status.view import head, view

if TYPE_CHECKING:
    from jinja2 import Environment

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ASSETS = {"app.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
_FOREVER = "public, max-age=31536000, immutable"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StatusParts:
    """What the page is made from; ``standing`` answers from memory, ``zone`` is that of all times shown."""

    history: History
    standing: Callable[[], Standing]
    clock: Clock
    zone: tzinfo = UTC
    version: str = __version__


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one question is answered with, apart from headers that all answers have."""

    status: int
    etag: str = ""
    html: str = ""


def status_routes(parts: StatusParts) -> list[Route]:
    """The page, and the files that come with it; for one event loop."""
    assets = [Route(f"/status/{name}", _asset, methods=["GET"]) for name in _ASSETS]
    return [Route("/status", _Page(parts).answer, methods=["GET"]), *assets]


class _Page:
    """The endpoint; what is asked for at the same time is worked out once."""

    def __init__(self, parts: StatusParts) -> None:
        self._parts = parts
        self._questions = Questions[_Answer]()

    async def answer(self, request: Request) -> Response:
        asked = (request.url.query, ",".join(request.headers.getlist("if-none-match")))
        try:
            answer = await self._questions.answer(asked, functools.partial(self._put, *asked))
        except ExporterError as error:
            _log.warning("the status page cannot be shown: %s", error)
            answer = await _in_thread(functools.partial(self._excuse, request.url.query, error))
        headers = {
            "content-security-policy": CONTENT_SECURITY_POLICY,
            "referrer-policy": "same-origin",
            "cache-control": "private, no-cache",
            "vary": "Accept-Encoding",
        }
        if answer.etag:
            headers["etag"] = answer.etag
        if answer.status == 304:
            return Response(status_code=304, headers=headers)
        body = answer.html.encode()
        if wants_gzip(",".join(request.headers.getlist("accept-encoding"))):
            body = gzip.compress(body, 1, mtime=0)
            headers["content-encoding"] = "gzip"
        return Response(body, answer.status, headers, "text/html")

    def _put(self, query: str, known: str) -> _Answer:
        """The page, or that it is the one which is *known*; runs in a thread."""
        history, zone = self._parts.history, self._parts.zone
        frame, standing, now = self._frame(query)
        # Before the answers: a newer page under an older tag is asked for once more, and never kept too long.
        etag = _etag(history.version(), query, frame, standing)
        if etag in known:
            return _Answer(304, etag)
        shown = view(frame, ask(history, frame.filters, now, zone), standing, now=now, zone=zone)
        return _Answer(200, etag, _rendered("status.html", head=frame, view=shown))

    def _excuse(self, query: str, error: ExporterError) -> _Answer:
        """The page without its content, and why; runs in a thread."""
        frame, _, _ = self._frame(query)
        busy = str(error) if isinstance(error, Refused) else ""
        return _Answer(503, html=_rendered("unavailable.html", head=frame, busy=busy))

    def _frame(self, query: str) -> tuple[Head, Standing, datetime]:
        """What stands around the content, how the collectors stand, and for when both are true.

        That is a whole minute, like all ages on the page: in between, only what is told can change it.
        """
        parts = self._parts
        now = parts.clock.now().replace(second=0, microsecond=0)
        filters, notices = read(query)
        standing = parts.standing().in_whole_minutes()
        return (
            head(filters, notices, standing, now=now, zone=parts.zone, version=parts.version),
            standing,
            now,
        )


async def _in_thread(call: Callable[[], _Answer]) -> _Answer:
    return await asyncio.get_running_loop().run_in_executor(None, call)


def _etag(version: str, query: str, frame: Head, standing: Standing) -> str:
    """A validator of everything that the page depends on; weak, as it is the same for each coding."""
    told = repr((version, query, frame, standing, sorted(_stamps().items())))
    return f'W/"{hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'


def _rendered(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(stamps=_stamps(), **values)


@functools.cache
def _environment() -> Environment:
    """The templates; jinja2 is imported here, so that only who looks at the page waits for it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("exporter.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


async def _asset(request: Request) -> Response:
    """A file that comes with the page; for ever, when it is asked for by the stamp of its content."""
    name = request.url.path.rpartition("/")[2]
    etag = f'"{_stamps()[name]}"'
    current = request.query_params.get("v") == _stamps()[name]
    headers = {"cache-control": _FOREVER if current else "no-cache", "etag": etag}
    if etag in ",".join(request.headers.getlist("if-none-match")):
        return Response(status_code=304, headers=headers)
    return Response(_asset_bytes(name), headers=headers, media_type=_ASSETS[name])


@functools.cache
def _asset_bytes(name: str) -> bytes:
    return (resources.files("exporter.web") / "templates" / name).read_bytes()


@functools.cache
def _stamps() -> dict[str, str]:
    """``name -> hash`` of each file that comes with the page."""
    return {name: hashlib.sha256(_asset_bytes(name)).hexdigest()[:16] for name in _ASSETS}
