"""The API over HTTP: representations, conditions, coding, and what is said when there is no answer."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter import __version__
from exporter.clock import Clock
from exporter.errors import ExporterError, QuestionTooLong
from exporter.model.history import History
from exporter.web.api.cells import to_csv
from exporter.web.api.document import PATH, openapi
from exporter.web.api.endpoints import ENDPOINTS, Endpoint, Found, Place
from exporter.web.api.parameters import BadParameter, Values, read_query
from exporter.web.api.questions import Questions, Refused
from exporter.web.metrics import prefers, wants_gzip

JSON, CSV, TEXT = "application/json", "text/csv; charset=utf-8", "text/plain; charset=utf-8"
_SHORTEST_GZIP = 1000
_COMMON = {"cache-control": "no-cache", "vary": "Accept, Accept-Encoding"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A response before it is sent: made in a thread, and perhaps sent to several clients."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        return Response(self.body, self.status, {**_COMMON, **self.headers})


@dataclass(frozen=True, slots=True)
class _Form:
    """How a client wants its answer; ``known`` are the tags of those that it has."""

    csv: bool
    gzip: bool
    known: frozenset[str]


def api_routes(history: History, clock: Clock) -> list[Route]:
    """The routes of all endpoints, and of the document that describes them."""
    questions = Questions[_Answer]()
    document = _encoded(openapi(ENDPOINTS, __version__))

    def route(endpoint: Endpoint) -> Route:
        async def answer(request: Request) -> Response:
            return await _answer(request, endpoint, history, clock, questions)

        # A project has slashes, also where they came as %2F.
        return Route(endpoint.path.replace("{project}", "{project:path}"), answer, methods=["GET"])

    async def describe(request: Request) -> Response:
        form = _form(request)
        try:
            read_query((), request.url.query, clock.now())
        except BadParameter as error:
            return _failed(form, 400, str(error)).response()
        return _whole(form, JSON, _tag(document), lambda: (document, {})).response()

    return [*map(route, ENDPOINTS), Route(PATH, describe, methods=["GET"])]


@dataclass(frozen=True, slots=True)
class _Question:
    """One request, understood; equal ``key`` means an equal answer at an equal time."""

    endpoint: Endpoint
    values: Values
    place: Place
    query: str
    form: _Form

    @property
    def key(self) -> str:
        return repr((self.meaning, self.query, self.form))

    @property
    def meaning(self) -> str:
        """What is asked for, and as what: the same however it is written."""
        return repr((self.endpoint.name, sorted(self.place.items()), sorted(self.values.items()), self.csv))

    @property
    def csv(self) -> bool:
        return self.form.csv and self.endpoint.has_csv

    def put(self, history: History) -> _Answer:
        """The answer of *history*; runs in a thread."""
        # Before the answer: a newer one under an older tag is asked for once more, and never kept too long.
        tag = _tag(f"{history.version()} {self.meaning}".encode())

        def make() -> tuple[bytes, dict[str, str]] | None:
            found = self.endpoint.ask(history, self.values, self.place)
            if found is None:
                return None
            body = _csv(self.endpoint, found) if self.csv else _encoded(found.rows)
            return body, _next_page(self.query, found)

        return _whole(self.form, CSV if self.csv else JSON, tag, make)


async def _answer(
    request: Request, endpoint: Endpoint, history: History, clock: Clock, questions: Questions[_Answer]
) -> Response:
    form = _form(request)
    query = request.url.query
    try:
        values = read_query(endpoint.parameters, query, clock.now())
        form = _form(request, values.get("format"))
        question = _Question(endpoint, values, request.path_params, query, form)
        answer = await questions.answer(question.key, functools.partial(question.put, history))
        return answer.response()
    except BadParameter as error:
        return _failed(form, 400, str(error)).response()
    except Refused as error:
        return _failed(form, 503, str(error), error.retry_after).response()
    except QuestionTooLong as error:
        return _failed(form, 503, str(error), 10).response()
    except ExporterError as error:
        _log.warning("the history gave no answer: %s", error)
        return _failed(form, 503, "the store gave no answer; the exporter's log says why", 5).response()


def _whole(
    form: _Form, kind: str, tag: str, make: Callable[[], tuple[bytes, dict[str, str]] | None]
) -> _Answer:
    """What *make* gives, with *tag*: 304 where the client has it, 404 where there is nothing."""
    if tag in form.known:
        return _Answer(304, headers={"etag": f"W/{tag}"})
    made = make()
    if made is None:
        return _failed(form, 404, "there is no such run")
    body, headers = made
    headers = {"content-type": kind, "etag": f"W/{tag}", **headers}
    if form.gzip and len(body) >= _SHORTEST_GZIP:
        return _Answer(200, gzip.compress(body, 4, mtime=0), {**headers, "content-encoding": "gzip"})
    return _Answer(200, body, headers)


def _form(request: Request, written: str | None = None) -> _Form:
    """What the headers ask for; *written* is the ``format`` that the query names."""
    headers = request.headers
    accept = ",".join(headers.getlist("accept"))
    return _Form(
        csv=written == "csv"
        or (written is None and prefers(accept, ("text", "csv"), ("application", "json"))),
        gzip=wants_gzip(",".join(headers.getlist("accept-encoding"))),
        known=frozenset(
            tag.strip().removeprefix("W/") for tag in ",".join(headers.getlist("if-none-match")).split(",")
        ),
    )


def _tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _encoded(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def _csv(endpoint: Endpoint, found: Found) -> bytes:
    rows = [found.rows] if isinstance(found.rows, dict) else found.rows
    return to_csv([column.name for column in endpoint.table.columns], rows).encode("utf-8", "replace")


def _next_page(query: str, found: Found) -> dict[str, str]:
    """The header with the next page: relative, since a proxy may have put a prefix before our path."""
    if found.after is None:
        return {}
    pairs = [(name, value) for name, value in parse_qsl(query) if name != "after"]
    return {"link": f'<?{urlencode([*pairs, ("after", found.after)])}>; rel="next"'}


def _failed(form: _Form, status: int, sentence: str, retry_after: int | None = None) -> _Answer:
    """Why there is no answer; *retry_after* is in seconds."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    if form.csv:
        return _Answer(status, f"{sentence}\n".encode(), {"content-type": TEXT, **headers})
    return _Answer(status, _encoded({"error": sentence}), {"content-type": JSON, **headers})
