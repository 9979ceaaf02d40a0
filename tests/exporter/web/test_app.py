from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from exporter.errors import ConfigError, Problem
from exporter.rendering import Format
from exporter.web.app import LandingPage, WebParts, build_app, build_log_level_app
from exporter.web.server import WebServer, bind

Serve = Callable[..., WebServer]
Connect = Callable[..., Any]


@pytest.fixture
def calls() -> list[object]:
    return []


# -- metrics


def test_metrics_are_text_unless_asked_otherwise(serve: Serve, connect: Connect) -> None:
    reply = connect(serve()).get("/metrics")
    assert (reply.status, reply.body) == (200, b"TEXT False () ()\n")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.headers["vary"] == "Accept, Accept-Encoding"
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in reply.headers
    assert "server" not in reply.headers
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", reply.headers["date"])


def test_metrics_follow_accept_and_accept_encoding(serve: Serve, connect: Connect) -> None:
    reply = connect(serve()).get("/metrics", "Accept: application/openmetrics-text", "Accept-Encoding: gzip")
    assert reply.body == b"OPENMETRICS True () ()\n"
    assert reply.headers["content-type"] == Format.OPENMETRICS.value
    assert reply.headers["content-encoding"] == "gzip"


def test_several_accept_headers_are_one_list(serve: Serve, connect: Connect) -> None:
    reply = connect(serve()).get(
        "/metrics", "Accept: text/plain;q=0.1", "Accept: application/openmetrics-text"
    )
    assert reply.body.startswith(b"OPENMETRICS")


def test_an_absurd_accept_header_gets_text(serve: Serve, connect: Connect) -> None:
    reply = connect(serve()).get("/metrics", "Accept: " + "text/plain;version=abc;q=9," * 300)
    assert (reply.status, reply.body[:4]) == (200, b"TEXT")


def test_filters_reach_the_render(serve: Serve, connect: Connect) -> None:
    reply = connect(serve()).get("/metrics?name[]=a&name%5B%5D=b&collect[]=x&collect[]=y")
    assert reply.body == b"TEXT False ('a', 'b') ('x', 'y')\n"


def test_an_unknown_collector_is_the_clients_mistake(serve: Serve, connect: Connect) -> None:
    def render(fmt: Format, gzip: bool, names: Sequence[str], collectors: Sequence[str]) -> list[bytes]:
        raise LookupError(f"there is no collector {collectors[0]!r}")

    reply = connect(serve(render=render)).get("/metrics?collect[]=nope", "Accept-Encoding: gzip")
    assert (reply.status, reply.body) == (400, b"there is no collector 'nope'\n")
    assert "content-encoding" not in reply.headers


def test_too_many_names_are_the_clients_mistake(serve: Serve, connect: Connect) -> None:
    reply = connect(serve()).get("/metrics?" + "name[]&" * 1001)
    assert (reply.status, reply.body) == (400, b"at most 1000 names may be asked for with name[]\n")


@pytest.mark.parametrize("mistake", [KeyError("secret"), IndexError("secret"), ZeroDivisionError("secret")])
def test_our_own_mistake_is_logged_once_and_not_shown(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture, mistake: Exception
) -> None:
    def render(*args: object) -> list[bytes]:
        raise mistake

    client = connect(serve(render=render))
    with caplog.at_level(logging.DEBUG):
        reply = client.get("/metrics?a=b")
    assert (reply.status, reply.body) == (500, b"the exporter failed to answer; its log says why\n")
    assert reply.headers["x-content-type-options"] == "nosniff"
    failures = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in failures] == ["GET '/metrics' failed"]
    assert failures[0].exc_info is not None
    assert failures[0].exc_info[1] is mistake
    assert client.get("/healthz").status == 200


def test_the_telemetry_path_can_move(serve: Serve, connect: Connect) -> None:
    client = connect(serve(telemetry_path="/a/b"))
    assert client.get("/a/b").body.startswith(b"TEXT")
    assert client.get("/metrics").status == 404
    assert client.get("/").headers["content-type"].startswith("text/html")


def test_metrics_at_the_root_replace_the_landing_page(serve: Serve, connect: Connect) -> None:
    assert connect(serve(telemetry_path="/")).get("/").body.startswith(b"TEXT")


@pytest.mark.parametrize(
    "path", ["", "metrics", "/m{x}", "/a b", "/healthz", "/-/reload", "/log_level", "/é"]
)
def test_an_impossible_telemetry_path_is_refused(parts: WebParts, path: str) -> None:
    changed = WebParts(parts.render, parts.readiness, parts.landing, parts.reload, parts.set_log_level, path)
    with pytest.raises(ConfigError, match="telemetry path"):
        build_app(changed)


# -- health


@pytest.mark.parametrize(
    ("path", "body"),
    [("/healthz", b"ok\n"), ("/-/healthy", b"ci-exporter is healthy\n"), ("/-/ready", b"ready\n")],
)
def test_health_answers_get_and_head(serve: Serve, connect: Connect, path: str, body: bytes) -> None:
    client = connect(serve())
    reply = client.get(path)
    assert (reply.status, reply.body) == (200, body)
    head = client.get(path, method="HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(len(body)))
    assert client.get(path).body == body


def test_not_ready_says_why(serve: Serve, connect: Connect) -> None:
    client = connect(serve(readiness=lambda: "the first round is not done"))
    reply = client.get("/-/ready")
    assert (reply.status, reply.body) == (503, b"not ready: the first round is not done\n")
    assert client.get("/healthz").status == 200
    assert client.get("/-/healthy").status == 200


# -- the router


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
        ("/-/reload", "POST, PUT"),
        ("/log_level", "PUT"),
    ],
)
@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "TRACE", "NONSENSE"])
def test_another_method_is_told_which_are_allowed(
    serve: Serve, connect: Connect, path: str, allowed: str, method: str
) -> None:
    reply = connect(serve()).get(path, method=method)
    assert (reply.status, reply.headers["allow"]) == (405, allowed)
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_posting_to_metrics_is_not_allowed(serve: Serve, connect: Connect) -> None:
    reply = connect(serve()).put("/metrics", b"a=b", method="POST")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/metrics/",
        "/healthz/",
        "/-/ready/",
        "//metrics",
        "/../metrics",
        "/%zz",
        "/%00",
        "/%ff",
        "/metrics%2f",
    ],
)
def test_an_unknown_path_is_not_found_and_not_redirected(serve: Serve, connect: Connect, path: str) -> None:
    reply = connect(serve()).get(path)
    assert (reply.status, reply.body) == (404, b"Not Found\n")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"


def test_head_of_metrics_has_the_length_and_no_body(serve: Serve, connect: Connect) -> None:
    client = connect(serve())
    length = len(client.get("/metrics").body)
    head = client.get("/metrics", "Connection: close", method="HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(length))
    assert client.rest() == b""


# -- lifecycle


def test_lifecycle_is_off_unless_switched_on(serve: Serve, connect: Connect, calls: list[object]) -> None:
    client = connect(serve(reload=lambda: calls.append("reload"), set_log_level=calls.append))
    for reply in (client.put("/-/reload", b"", "POST"), client.put("/log_level", b"level=info")):
        assert reply.status == 403
        assert b"metrics.lifecycle: true" in reply.body
        assert b"--web.enable-lifecycle" in reply.body
    assert client.get("/-/reload").status == 405
    assert calls == []


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_reload_reloads(serve: Serve, connect: Connect, calls: list[object], method: str) -> None:
    client = connect(serve(lifecycle=True, reload=lambda: calls.append("reload")))
    assert client.put("/-/reload", b"", method).status == 200
    assert calls == ["reload"]


def test_where_files_lie_is_for_the_log_and_not_for_a_client(serve: Serve, connect: Connect) -> None:
    problems = [
        Problem(
            "token_file", "the file /run/secrets/token does not exist", "/etc/ci-exporter/config.yaml", 7
        ),
        Problem("url", "must be an address such as https://gitlab.example.com/ci", "config.yaml", 8),
    ]

    def reload() -> None:
        raise ConfigError(problems)

    client = connect(serve(lifecycle=True, reload=reload, readiness=lambda: "cannot write '/var/lib/x.db'"))
    assert client.put("/-/reload", b"", "POST").body == (
        b"config.yaml:7: token_file: the file token does not exist\n"
        b"config.yaml:8: url: must be an address such as https://gitlab.example.com/ci\n"
    )
    assert client.get("/-/ready").body == b"not ready: cannot write 'x.db'\n"


def test_a_bad_configuration_says_every_problem(serve: Serve, connect: Connect) -> None:
    def reload() -> None:
        raise ConfigError([Problem("a.b", "is wrong", "c.yaml", 3), Problem("d", "is missing")])

    reply = connect(serve(lifecycle=True, reload=reload)).put("/-/reload", b"", "POST")
    assert (reply.status, reply.body) == (500, b"c.yaml:3: a.b: is wrong\nd: is missing\n")


@pytest.mark.parametrize(
    "body", [b"level=debug", b"LEVEL=DEBUG", b"Level=Debug\n", b"a=b&level=debug", b"level=%64ebug"]
)
def test_the_log_level_can_be_set(serve: Serve, connect: Connect, calls: list[object], body: bytes) -> None:
    reply = connect(serve(lifecycle=True, set_log_level=calls.append)).put("/log_level", body)
    assert (reply.status, calls) == (200, ["debug"])


@pytest.mark.parametrize("body", [b"", b"level", b"level=", b"debug", b"\xff\xfe", b"loglevel=debug"])
def test_a_missing_log_level_is_explained(
    serve: Serve, connect: Connect, calls: list[object], body: bytes
) -> None:
    reply = connect(serve(lifecycle=True, set_log_level=calls.append)).put("/log_level", body)
    assert (reply.status, calls) == (400, [])
    assert b"one of debug, info, warning, error" in reply.body


def test_a_bad_log_level_is_explained(serve: Serve, connect: Connect) -> None:
    def set_log_level(level: str) -> None:
        raise ConfigError(f"there is no log level {level!r}")

    reply = connect(serve(lifecycle=True, set_log_level=set_log_level)).put("/log_level", b"level=loud")
    assert reply.status == 400
    assert reply.body.startswith(b"there is no log level 'loud'\n")
    assert b"debug, info, warning, error" in reply.body


def test_the_small_listener_only_sets_the_log_level(connect: Connect, calls: list[object]) -> None:
    server = WebServer(build_log_level_app(calls.append), bind(["127.0.0.1:0"]))
    server.start()
    try:
        client = connect(server)
        assert client.put("/log_level", b"level=error").status == 200
        assert client.get("/healthz").body == b"ok\n"
        assert [client.get(path).status for path in ("/", "/metrics", "/-/reload")] == [404, 404, 404]
    finally:
        server.stop()
    assert calls == ["error"]


# -- landing page


def test_the_landing_page_shows_what_is_there(serve: Serve, connect: Connect) -> None:
    page = LandingPage(
        "ci-exporter",
        "1.2.3",
        "Metrics of CI.",
        [("/metrics", "Metrics"), ("/-/ready", "Readiness")],
        [("gitlab", datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), "fresh"), ("runner", None, "starting")],
    )
    html = connect(serve(landing=lambda: page)).get("/").body.decode()
    assert '<a href="/metrics">Metrics</a>' in html
    assert '<time datetime="2026-01-02T03:04:05Z">2026-01-02 03:04:05 UTC</time></td><td>fresh' in html
    assert "<td>runner</td><td>never</td><td>starting</td>" in html


def test_nothing_on_the_landing_page_is_markup(serve: Serve, connect: Connect) -> None:
    evil = "<script>'\"&"
    page = LandingPage(evil, evil, evil, [(evil, evil)], [(evil, None, evil)])
    html = connect(serve(landing=lambda: page)).get("/").body.decode()
    assert "<script" not in html
    assert html.count("&lt;script&gt;&#x27;&quot;&amp;") == 8


def test_the_policy_of_the_landing_page_allows_its_own_style_only(serve: Serve, connect: Connect) -> None:
    reply = connect(serve()).get("/")
    style = re.search(r"<style>(.*?)</style>", reply.body.decode(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = reply.headers["content-security-policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "style=" not in reply.body.decode()
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
