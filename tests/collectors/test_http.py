"""The API client against a server on a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from collectors import _http
from collectors._credentials import Credentials
from collectors._http import ApiClient, NotThere
from collectors._rates import RateLimiter
from exporter.clock import FixedClock
from exporter.errors import BadAnswer, SourceError, Stopped, Unauthorized

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
TOKEN = "glpat-secret-token"


class Observer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.remaining: list[float] = []

    def request(self, operation: str, code: str, seconds: float) -> None:
        self.codes.append(code)

    def rate_limit_remaining(self, remaining: float) -> None:
        self.remaining.append(remaining)

    def unknown_value(self, kind: str) -> None:
        raise AssertionError


class Limiter(RateLimiter):
    """Notes pauses; they cost no time, but the long ones end the call as they should."""

    def __init__(self, stopping: threading.Event) -> None:
        super().__init__(1000, stopping)
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        if seconds:
            self.pauses.append(seconds)


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def limiter(stopping: threading.Event) -> Limiter:
    return Limiter(stopping)


@pytest.fixture
def client_of(
    observer: Observer, limiter: Limiter, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ApiClient]]:
    monkeypatch.setattr(ApiClient, "retry_seconds", 0.001)
    made: list[ApiClient] = []

    def make(url: str, **given: Any) -> ApiClient:
        settings = {"limiter": limiter, "timeout_seconds": 5.0} | given
        client = ApiClient(
            url,
            Credentials(TOKEN),
            observer=observer,
            clock=FixedClock(NOW),
            stopping=stopping,
            user_agent="test",
            **settings,
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(client_of: Callable[..., ApiClient], server: Any) -> ApiClient:
    return client_of(server.url)


def answer(body: object = None, status: int = 200, **headers: str) -> Any:
    return lambda handler: handler.send(body, status, **headers)


def raw(*pieces: bytes, wait: float = 0.0) -> Any:
    """Bytes as they are, then the connection ends."""

    def send(handler: Any) -> None:
        handler.close_connection = True
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
            if wait:
                threading.Event().wait(wait)

    return send


def test_an_answer_is_parsed_and_reported(client: ApiClient, server: Any, observer: Observer) -> None:
    server.answers = [answer({"id": 7})]
    assert client.get("things/7", "thing", {"a": "b"}).body == {"id": 7}
    path, headers = server.seen[0]
    assert path == "/things/7?a=b"
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert observer.codes == ["200"]


def test_a_question_is_posted_as_json_and_asked_again_when_the_server_fails(
    client: ApiClient, server: Any, observer: Observer
) -> None:
    server.answers = [answer(status=502), answer(status=307, Location="/moved"), answer({"data": {}})]
    assert client.post("ask", "question", {"query": "x"}).body == {"data": {}}
    assert server.posted == [{"query": "x"}] * 3
    assert [path for path, _ in server.seen] == ["/ask", "/ask", "/moved"]
    assert {headers["Authorization"] for _, headers in server.seen} == {f"Bearer {TOKEN}"}
    assert observer.codes == ["502", "307", "200"]


def test_one_connection_serves_many_calls(client: ApiClient, server: Any) -> None:
    server.answers = [answer(["x" * 200_000])]
    for _ in range(5):
        client.get("things", "things")
    assert server.connections == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", None), (format_datetime(NOW.replace(second=9), usegmt=True), 9.0), ("soon", 1.0)],
)
def test_a_429_makes_everybody_wait_as_long_as_it_says(
    client: ApiClient, server: Any, limiter: Limiter, header: str, seconds: float | None
) -> None:
    server.answers = [answer("Retry later", 429, Retry_After=header), answer([])]
    assert client.get("things", "things").status == 200
    assert limiter.pauses == ([seconds] if seconds else [])


@pytest.mark.parametrize("status", [429, 503])
def test_a_long_wait_is_handed_to_the_engine(
    client: ApiClient, server: Any, limiter: Limiter, status: int
) -> None:
    server.answers = [answer("Retry later", status, Retry_After="3600")]
    with pytest.raises(SourceError) as caught:
        client.get("things", "things")
    assert (caught.value.retry_after, limiter.pauses, len(server.seen)) == (3600, [3600], 1)


@pytest.mark.parametrize("header", ["inf", "nan", "-5", "1e999", "99999999999999999999"])
def test_a_senseless_wait_breaks_nothing(client_of: Any, server: Any, stopping: Any, header: str) -> None:
    client = client_of(server.url, limiter=RateLimiter(1000, stopping))
    server.answers = [answer("x", 503, Retry_After=header), answer([])]
    waits = [0.0]
    try:
        client.get("things", "things")
    except SourceError as error:
        waits.append(error.retry_after or 0.0)
    assert max(waits) <= 86_400


@pytest.mark.parametrize(
    ("reset", "seconds"), [(NOW.timestamp() + 30, 30), (20, 20), (1e12, 60), ("x", None)]
)
def test_an_allowance_that_is_used_up_is_waited_for(
    client: ApiClient, server: Any, limiter: Limiter, observer: Observer, reset: object, seconds: int | None
) -> None:
    server.answers = [answer([], RateLimit_Remaining="0", RateLimit_Reset=str(reset))]
    client.get("things", "things")
    assert observer.remaining == [0.0]
    assert limiter.pauses == ([seconds] if seconds else [])


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520])
def test_a_failing_server_is_asked_again_and_then_reported(
    client: ApiClient, server: Any, status: int
) -> None:
    server.answers = [answer("x", status)]
    with pytest.raises(SourceError, match=f"things answered {status}"):
        client.get("things", "things")
    assert len(server.seen) == 3
    server.answers = [answer("x", status)] * 5 + [answer([])]
    assert client.get("things", "things").body == []


@pytest.mark.parametrize("status", [204, 302, 400, 405, 418])
def test_other_statuses_are_not_tried_again(client: ApiClient, server: Any, status: int) -> None:
    server.answers = [answer(b"", status)]
    with pytest.raises(SourceError) as caught:
        client.get("things", "things")
    assert caught.value.permanent
    assert len(server.seen) == 1


def test_a_refused_token_is_not_tried_again(client: ApiClient, server: Any) -> None:
    server.answers = [answer({"message": "401"}, 401)]
    with pytest.raises(Unauthorized):
        client.get("things", "things")
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [403, 404])
def test_what_is_missing_or_hidden_is_for_the_caller(client: ApiClient, server: Any, status: int) -> None:
    server.answers = [answer({"message": "no"}, status)]
    assert client.get("things", "things").status == status
    with pytest.raises(NotThere) as caught:
        list(client.pages("things", "things", {}))
    assert caught.value.status == status


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (raw(HEAD + b"Content-Length: 100\r\n\r\n[1,2"), "broke in the middle"),
        (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2"), "broke in the middle"),
        (raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"), "compressed"),
        (raw(), "no connection"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), "no connection"),
        (answer(b'[{"id": 1}, {"i'), "no JSON, or only a part"),
        (answer(b"<html>Sign in</html>"), "no JSON"),
        (answer(b"[NaN]"), "no JSON"),
        (answer(b"[" * 200_000), "no JSON"),
        (answer(b"\xff\xfe\x00"), "no JSON"),
        (answer(b""), "no JSON"),
    ],
)
def test_a_spoiled_answer_is_asked_for_again(client: ApiClient, server: Any, bad: Any, message: str) -> None:
    server.answers = [bad, bad, answer([1])]
    assert client.get("things", "things").body == [1]
    server.seen.clear()
    server.answers = [bad]
    with pytest.raises(SourceError, match=message):
        client.get("things", "things")


def test_a_drip_of_bytes_is_cut_at_the_deadline(client_of: Any, server: Any) -> None:
    client = client_of(server.url, timeout_seconds=0.2)
    drip = raw(HEAD + b"Content-Length: 5000\r\n\r\n", *[b" "] * 5000, wait=0.02)  # for 100 seconds
    server.answers = [drip]
    started = time.monotonic()
    with pytest.raises(SourceError, match="no answer in time"):
        client.get("things", "things")
    assert time.monotonic() - started < 30


def test_silence_is_cut_at_the_deadline(client_of: Any, server: Any) -> None:
    client = client_of(server.url, timeout_seconds=0.1)
    server.answers = [raw(b"", wait=1)]
    with pytest.raises(SourceError, match="no answer in time"):
        client.get("things", "things")


def test_a_huge_body_is_not_read_to_its_end(
    client: ApiClient, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "_BODY_BYTES", 100_000)
    server.answers = [answer(["x" * 1_000_000])]
    with pytest.raises(SourceError, match="larger than"):
        client.get("things", "things")


def pages_of(server: Any, link: str = "{url}") -> list[Any]:
    def page(number: int, last: bool) -> Any:
        def send(handler: Any) -> None:
            target = link.format(url=server.url) + f"/things?page={number + 1}&per_page=1"
            headers = {} if last else {"Link": f'<{target}>; rel="next", <{server.url}/x>; rel="first"'}
            handler.send([{"id": number}], **headers)

        return send

    return [page(1, False), page(2, False), page(3, True)]


def test_pages_follow_the_links_of_the_source(client: ApiClient, server: Any) -> None:
    server.answers = pages_of(server)
    assert list(client.pages("things", "things", {"per_page": 1})) == [[{"id": 1}], [{"id": 2}], [{"id": 3}]]
    assert [path for path, _ in server.seen] == [
        "/things?per_page=1",
        "/things?page=2&per_page=1",
        "/things?page=3&per_page=1",
    ]


@pytest.mark.parametrize("link", ["https://inner.example:8443", "http://127.0.0.9:1", "", "//evil.example"])
def test_a_link_to_another_host_is_read_at_our_own(client: ApiClient, server: Any, link: str) -> None:
    server.answers = pages_of(server, link)
    assert [page[0]["id"] for page in client.pages("things", "things", {})] == [1, 2, 3]


def test_a_page_that_comes_twice_is_no_list(client: ApiClient, server: Any) -> None:
    server.answers = [answer([{"id": 1}], Link=f'<{server.url}/things?page=2>; rel="next"')]
    with pytest.raises(BadAnswer, match="twice"):
        list(client.pages("things", "things", {}))


def test_a_list_without_end_ends(client: ApiClient, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "_MAX_PAGES", 5)
    numbers = iter(range(1000))
    server.answers = [
        lambda handler: handler.send(
            [{"id": next(numbers)}], Link=f'<{server.url}/things?page=2>; rel="next"'
        )
    ]
    with pytest.raises(SourceError, match="does not end"):
        list(client.pages("things", "things", {}))


def test_a_page_that_is_no_list_is_said_so(client: ApiClient, server: Any) -> None:
    server.answers = [answer({"id": 1})]
    with pytest.raises(BadAnswer, match="expected a list"):
        list(client.pages("things", "things", {}))


def test_a_redirect_within_the_host_is_followed_with_the_token(client: ApiClient, server: Any) -> None:
    server.answers = [answer(b"", 301, Location="/things/7?a=b"), answer({"id": 7})]
    assert client.get("things/old", "thing", {"a": "b"}).body == {"id": 7}
    assert [path for path, _ in server.seen] == ["/things/old?a=b", "/things/7?a=b"]
    assert server.seen[1][1]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("scheme", ["http://{}", "//{}"])
def test_a_redirect_to_another_host_is_not_followed(
    client: ApiClient, server: Any, server_at: Any, scheme: str
) -> None:
    other = server_at("127.0.0.2")
    other.answers = [answer({"id": 7})]
    place = scheme.format(f"user:pass@{other.url.removeprefix('http://')}")
    server.answers = [answer(b"", 302, Location=f"{place}/things")]
    with pytest.raises(SourceError, match="another host") as caught:
        client.get("things", "things")
    assert other.seen == []
    assert "pass" not in str(caught.value)


def test_redirects_in_circles_end(client: ApiClient, server: Any) -> None:
    server.answers = [answer(b"", 302, Location="/things")]
    with pytest.raises(SourceError, match="circles"):
        client.get("things", "things")


def test_netrc_is_not_asked(
    client: ApiClient, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.answers = [answer(b"", 301, Location="/there"), answer([])]
    client.get("things", "things")
    assert {headers["Authorization"] for _, headers in server.seen} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("token", ["two\nlines", "snow☃man", "carriage\rreturn"])
def test_a_token_that_no_header_takes_is_said_so_without_showing_it(
    client: ApiClient, server: Any, token: str
) -> None:
    client.credentials.token = token
    server.answers = [answer([])]
    with pytest.raises(SourceError, match="cannot be sent") as caught:
        client.get("things", "things")
    assert caught.value.__cause__ is None
    assert token not in str(caught.value)


def test_no_error_shows_token_or_address(client_of: Any, server: Any) -> None:
    texts = []
    bad = [raw(), raw(HEAD + b"Content-Length: 9\r\n\r\n[")]
    bad += [answer(TOKEN, status) for status in (400, 401, 429, 500)] + [answer(b"nope")]
    for spoiled in bad:
        server.answers = [spoiled]
        with pytest.raises(SourceError) as caught:
            client_of(server.url).get(f"things?private_token={TOKEN}", "things")
        texts.append(str(caught.value))
    with pytest.raises(SourceError) as caught:
        client_of("http://127.0.0.1:9").get(f"things?private_token={TOKEN}", "things")
    texts.append(str(caught.value))
    assert not [text for text in texts if TOKEN in text or "http://" in text or "private" in text]


def test_stopping_ends_the_wait_between_attempts(
    client: ApiClient, server: Any, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ApiClient, "retry_seconds", 60)
    server.answers = [lambda handler: (stopping.set(), handler.send("x", 500))]
    with pytest.raises(Stopped):
        client.get("things", "things")


def test_the_configured_authority_outranks_the_environment(
    client_of: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")
    client = client_of(server.url, verify=False)
    asked: list[Any] = []
    adapter = client._session.get_adapter(server.url)
    monkeypatch.setattr(adapter, "cert_verify", lambda _conn, _url, verify, _cert: asked.append(verify))
    server.answers = [answer([])]
    client.get("things", "things")
    assert asked == [False]


def test_connections_are_given_back(client_of: Any, server: Any) -> None:
    client = client_of(server.url, timeout_seconds=1.0)
    bad = [raw(HEAD + b"Content-Length: 9\r\n\r\n["), answer("x", 500), answer(b"nope"), answer([])]
    server.answers = bad
    for _ in range(3):
        try:
            client.get("things", "things")
        except SourceError:
            continue
    client.close()  # ResourceWarnings are errors here
