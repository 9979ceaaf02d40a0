"""The OpenAPI document: valid, complete, and what the real server keeps to whatever it is asked."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from starlette.types import ASGIApp

from exporter import __version__
from exporter.clock import FixedClock
from exporter.errors import StoreError
from exporter.store.sql import SqlStore
from exporter.web.api.document import PATH, openapi
from exporter.web.api.endpoints import ENDPOINTS
from exporter.web.app import LandingPage, WebParts, build_app
from exporter.web.gate import Gate
from exporter.web.server import WebServer, bind
from exporter.web.webconfig import RateLimit, WebConfig
from tests.support.runs import NOW, PROJECTS, fill, history_of
from tests.support.stores import ready_store

load_all_checks()
DOCUMENT = openapi(ENDPOINTS, __version__)
schema = schemathesis.openapi.from_dict(DOCUMENT)
schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
schema.config.checks.negative_data_rejection.expected_statuses = ["400", "404", "414"]
# What makes sense alone need not do so together (from and to), and who can tell what a position is.
TOO_STRICT = schemathesis.checks.CHECKS.get_by_names(["positive_data_acceptance"])
# An empty value is as if it were left out, which no schema says.
TOO_STRICT_IF_EMPTY = schemathesis.checks.CHECKS.get_by_names(["negative_data_rejection"])
CONFORMANCE = schemathesis.checks.CHECKS.get_by_names(
    [
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "20"))
OPERATIONS = [path for path in DOCUMENT["paths"] if path != PATH]


class Dead:
    """A history whose store does not answer."""

    def __getattr__(self, name: str) -> Any:
        raise StoreError("store /secret/place: it is gone")


def _parts(history: Any) -> WebParts:
    return WebParts(
        render=lambda fmt, gzip, names, collectors: [],
        readiness=lambda: None,
        landing=lambda: LandingPage("n", "1", "d"),
        reload=lambda: None,
        set_log_level=lambda level: None,
        history=history,
        clock=FixedClock(NOW),
    )


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[ASGIApp], str]]:
    """Serves an application; where it is."""
    with ExitStack() as stack:

        def serve(app: ASGIApp) -> str:
            server = WebServer(app, bind(["127.0.0.1:0"]))
            stack.callback(server.stop, 1.0)
            server.start()
            return f"http://{server.addresses[0]}"

        yield serve


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebParts]:
    """Parts on a real store."""
    store = SqlStore(ready_store(tmp_path_factory.mktemp("fuzz")))
    fill(store, 200)
    yield _parts(history_of(store))
    store.close()


@pytest.fixture(scope="module")
def url(serving: Callable[[ASGIApp], str], parts: WebParts) -> str:
    return serving(build_app(parts))


def test_the_document_is_valid() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_the_document_is_what_is_served(serve: Callable[..., Any], connect: Callable[..., Any]) -> None:
    client = connect(serve(history=Dead()))
    reply = client.get(PATH)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert json.loads(reply.body) == json.loads(json.dumps(DOCUMENT))
    known = f"If-None-Match: {reply.headers['etag']}"
    assert client.get(PATH, known).status == 304


def test_everything_in_the_document_is_described() -> None:
    operations = [path["get"] for path in DOCUMENT["paths"].values()]
    named = [operation["operationId"] for operation in operations]
    assert len(named) == len(set(named)) == len(ENDPOINTS) + 1
    assert all(one["description"] for operation in operations for one in operation.get("parameters", ()))
    schemas = DOCUMENT["components"]["schemas"].values()
    assert all(one["description"] for table in schemas for one in table["properties"].values())


@pytest.mark.no_cover  # long, through code that smaller tests cover
@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_the_answer_is_as_documented(case: Any, url: str) -> None:
    response = case.call(base_url=url)
    empty = re.search("=(&|$)", response.request.url)
    case.validate_response(response, excluded_checks=TOO_STRICT + (TOO_STRICT_IF_EMPTY if empty else []))


@pytest.mark.parametrize("path", OPERATIONS)
def test_every_documented_status_is_answered_and_as_documented(
    path: str, url: str, parts: WebParts, serving: Callable[[ASGIApp], str]
) -> None:
    operation = schema[path]["GET"]
    place = {"provider": "gitlab", "project": PROJECTS[0], "id": 1} if "{id}" in path else {}

    def ask(base_url: str, headers: dict[str, str] | None = None, **query: str) -> Any:
        case = operation.Case(path_parameters=place, query=query, headers=headers or {})
        return case.call_and_validate(base_url=base_url, checks=CONFORMANCE)

    found = ask(url)
    known = {"If-None-Match": found.headers["etag"][0]}
    seen = {found.status_code, ask(url, known).status_code}
    seen.add(ask(url, nonsense="1").status_code)
    seen.add(ask(serving(build_app(_parts(Dead())))).status_code)
    locked = Gate(build_app(parts), lambda: WebConfig(users={"ann": b"$2b$04$" + b"x" * 53}))
    seen.add(ask(serving(locked)).status_code)
    slowed = serving(Gate(build_app(parts), lambda: WebConfig(rate_limit=RateLimit(3600.0, 1))))
    seen |= {ask(slowed).status_code for _ in range(2)}
    seen.add(ask(url, nonsense="1" * 9000).status_code)
    if place:
        place["id"] = 10**9
        seen.add(ask(url).status_code)
    assert seen == {int(status) for status in DOCUMENT["paths"][path]["get"]["responses"]}
