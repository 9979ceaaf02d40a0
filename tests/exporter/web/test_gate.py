"""Passwords, rate limit and headers in front of the application, through a real server."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import bcrypt
import pytest

from exporter.clock import FixedClock
from exporter.web import logins
from exporter.web.app import PROBES, WebParts, build_app
from exporter.web.gate import CHALLENGE, Gate
from exporter.web.limits import Limits
from exporter.web.logins import MAX_KNOWN, MAX_WAITING, Logins, TooManyLogins
from exporter.web.server import WebServer, bind
from exporter.web.webconfig import RateLimit, WebConfig

PATIENCE = 60.0


def _hash(password: str, cost: int = 4) -> bytes:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost))


USERS = {
    "alice": _hash("open sesame"),
    "bob:": _hash("b"),
    "jürgen": _hash("geheimnis€"),
    "long": _hash("x" * 72),
    "blank": _hash(""),
}
WITH_USERS = WebConfig(users=USERS)


class Judge:
    """Stands for bcrypt: counts, and can be held up."""

    def __init__(self, right: bytes = b"right") -> None:
        self.right = right
        self.asked: list[tuple[bytes, bytes]] = []
        self.held = threading.Event()
        self.held.set()
        self.entered = threading.Event()

    def verify(self, expected: bytes, password: bytes) -> bool:
        self.asked.append((expected, password))
        self.entered.set()
        assert self.held.wait(PATIENCE)
        return password == self.right


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    made = Judge()
    monkeypatch.setattr(logins, "_verify", made.verify)
    yield made
    made.held.set()


class Configured:
    """A configuration that a test can change under the running server."""

    def __init__(self) -> None:
        self.config = WebConfig()

    def __call__(self) -> WebConfig:
        return self.config


@pytest.fixture
def configured() -> Configured:
    return Configured()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 3, 2, tzinfo=UTC))


@pytest.fixture
def guard(parts: WebParts, configured: Configured, clock: FixedClock) -> Iterator[Callable[..., WebServer]]:
    """Starts a server behind a gate; what is given by keyword replaces parts of the application."""
    servers: list[WebServer] = []

    def start(
        config: WebConfig,
        open_paths: frozenset[str] = frozenset(),
        header_seconds: float = 5.0,
        **changes: Any,
    ) -> WebServer:
        configured.config = config
        app = Gate(build_app(replace(parts, **changes)), configured, open_paths, clock=clock)
        limits = Limits(connections=400, header_seconds=header_seconds)
        headers = lambda: configured().headers  # noqa: E731
        server = WebServer(app, bind(["127.0.0.1:0"]), limits, headers=headers)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop(1.0)


def basic(user: str | bytes, password: str | bytes) -> str:
    pair = (user.encode() if isinstance(user, str) else user) + b":"
    pair += password.encode() if isinstance(password, str) else password
    return f"Authorization: Basic {base64.b64encode(pair).decode()}"


def test_without_users_nobody_needs_a_password(guard: Any, connect: Any) -> None:
    server = guard(WebConfig())
    assert connect(server).get("/metrics").status == 200
    assert connect(server).get("/metrics", basic("who", "ever")).status == 200


def test_a_password_is_asked_for_in_one_line(guard: Any, connect: Any) -> None:
    server = guard(WITH_USERS)
    client = connect(server)
    for path in ("/metrics", "/", "/healthz", "/-/ready", "/nowhere"):
        reply = client.get(path)
        assert (reply.status, reply.headers["www-authenticate"]) == (401, CHALLENGE)
        assert reply.body == b"a user name and a password are needed\n"
    assert client.get("/metrics", method="HEAD").status == 401
    assert client.put("/-/reload", b"x", "POST").status == 401
    assert client.get("/metrics", basic("alice", "open sesame")).status == 200


@pytest.mark.parametrize(
    ("user", "password", "status"),
    [
        ("alice", "open sesame", 200),
        ("alice", "open sesame ", 401),
        ("alice", "", 401),
        ("Alice", "open sesame", 401),
        ("", "open sesame", 401),
        ("nobody", "", 401),
        ("nobody", "open sesame", 401),
        (
            "nobody",
            "fakepassword",
            401,
        ),  # that of the hash which exporter-toolkit compares unknown users with
        ("bob:", "b", 401),  # the first colon ends the name: such a user can never come in
        ("jürgen", "geheimnis€", 200),
        ("jürgen".encode("latin-1"), "geheimnis€", 401),
        (b"\xff\xfe", b"\xff", 401),
        ("blank", "", 200),
        ("long", "x" * 72, 200),
        ("long", "x" * 73, 401),
        ("alice", "x" * 5000, 401),
        ("alice", "open sesame\0", 401),
        ("alice", "\0", 401),
    ],
)
def test_only_the_right_password_opens(
    guard: Any, connect: Any, user: str | bytes, password: str | bytes, status: int
) -> None:
    client = connect(guard(WITH_USERS))
    assert [client.get("/metrics", basic(user, password)).status for _ in range(2)] == [status, status]


GOOD = basic("alice", "open sesame").removeprefix("Authorization: Basic ")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic ",
        "Bearer abc",
        GOOD,
        f"Basic{GOOD}",
        f"Basic {GOOD[:-1]}",
        f"Basic {GOOD[:4]} {GOOD[4:]}",
        f"Basic {GOOD}!",
        f"Basic {GOOD}, Basic {GOOD}",
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic äöü",
        "Basic " + "A" * 4001,
    ],
)
def test_what_is_no_login_is_a_401(guard: Any, connect: Any, value: str) -> None:
    assert connect(guard(WITH_USERS)).get("/metrics", f"Authorization: {value}").status == 401


def test_the_scheme_may_be_written_in_any_letters(guard: Any, connect: Any) -> None:
    client = connect(guard(WITH_USERS))
    assert client.get("/metrics", f"AUTHORIZATION: bAsIc  {GOOD}").status == 200


def test_two_logins_are_none(guard: Any, connect: Any) -> None:
    client = connect(guard(WITH_USERS))
    good = basic("alice", "open sesame")
    assert client.get("/metrics", good, good).status == 401
    assert client.get("/metrics", good, "Authorization:").status == 401


def test_probes_need_no_password_where_the_operator_says_so(guard: Any, connect: Any) -> None:
    client = connect(guard(WITH_USERS, PROBES))
    assert {path: client.get(path).status for path in sorted(PROBES)} == dict.fromkeys(sorted(PROBES), 200)
    assert client.get("/%68ealthz").status == 200  # the router reads it the same way
    for path in ("/metrics", "/healthz/", "//healthz", "/healthz/../metrics", "/-/config", "/HEALTHZ"):
        assert client.get(path).status == 401, path


# -- remembered logins -----------------------------------------------------------------------------


def test_a_right_login_is_calculated_once_and_wrong_ones_do_not_drive_it_out(
    guard: Any, connect: Any, judge: Judge
) -> None:
    client = connect(guard(WITH_USERS))
    assert client.get("/metrics", basic("alice", "right")).status == 200
    for number in range(MAX_KNOWN + 1):
        assert client.get("/metrics", basic("alice", f"wrong {number}")).status == 401
    asked = len(judge.asked)
    assert client.get("/metrics", basic("alice", "right")).status == 200
    assert len(judge.asked) == asked == MAX_KNOWN + 2


def test_a_changed_hash_or_a_removed_user_counts_at_once(
    guard: Any, connect: Any, configured: Configured
) -> None:
    client = connect(guard(WITH_USERS))
    old, new = basic("alice", "open sesame"), basic("alice", "new")
    assert client.get("/metrics", old).status == 200
    configured.config = WebConfig(users={"alice": _hash("new")})
    assert [client.get("/metrics", one).status for one in (old, new)] == [401, 200]
    configured.config = WebConfig(users={"bob": _hash("b")})
    assert [client.get("/metrics", one).status for one in (old, new)] == [401, 401]


def test_an_unknown_user_costs_as_much_as_the_costliest_and_never_comes_in(
    guard: Any, connect: Any, judge: Judge
) -> None:
    users = {"alice": _hash("a", 4), "bob": _hash("b", 5)}
    client = connect(guard(WebConfig(users=users)))
    for _ in range(2):  # not even when bcrypt says yes
        assert client.get("/metrics", basic("nobody", "right")).status == 401
    assert [expected[:7] for expected, _ in judge.asked] == [b"$2b$05$"] * 2


def test_nobody_s_hash_is_one_that_bcrypt_takes() -> None:
    assert not bcrypt.checkpw(b"fakepassword", logins._nobody({"a": _hash("a")}))


def test_no_login_can_borrow_the_place_of_another() -> None:
    # CVE-2022-46146: user, hash and password run together.
    key = Logins()._key
    assert (
        len({key(b"ab", b"c", b"d"), key(b"a", b"bc", b"d"), key(b"ab", b"", b"cd"), key(b"", b"", b"")}) == 4
    )
    assert Logins()._key(b"a", b"b", b"c") != key(b"a", b"b", b"c"), "no other process can know the key"


def test_at_most_a_hundred_logins_are_remembered(judge: Judge) -> None:
    users = {f"user{number}": b"$2b$04$" + b"." * 53 for number in range(MAX_KNOWN + 20)}
    known = Logins()

    async def come() -> None:
        for user in users:
            assert await known.check(users, user.encode(), b"right")

    asyncio.run(come())
    assert len(known._right) == MAX_KNOWN
    assert not any(b"right" in key for key in known._right)


# -- many at once ----------------------------------------------------------------------------------


def test_a_flood_of_wrong_logins_stalls_neither_probes_nor_a_known_scraper(
    guard: Any, connect: Any, judge: Judge, eventually: Any
) -> None:
    server = guard(WITH_USERS, PROBES)
    scraper, prober = connect(server), connect(server)
    assert scraper.get("/metrics", basic("alice", "right")).status == 200
    judge.held.clear()
    crowd = [connect(server) for _ in range(200)]
    for number, client in enumerate(crowd):
        head = f"GET /metrics HTTP/1.1\r\nHost: x\r\n{basic('alice', f'wrong {number}')}\r\n\r\n"
        client.send(head.encode())
    eventually(lambda: len(judge.asked) == 2)
    for _ in range(5):
        assert prober.get("/healthz").status == 200
        assert scraper.get("/metrics", basic("alice", "right")).status == 200
    assert len(judge.asked) == 2, "one at a time"
    judge.held.set()
    replies = [client.reply() for client in crowd]
    assert sorted({reply.status for reply in replies}) == [401, 429]
    assert sum(reply.status == 401 for reply in replies) >= MAX_WAITING
    assert {reply.headers["retry-after"] for reply in replies if reply.status == 429} == {"1"}


def test_the_same_login_from_many_at_once_is_calculated_once(guard: Any, connect: Any, judge: Judge) -> None:
    server = guard(WITH_USERS)
    judge.held.clear()
    crowd = [connect(server) for _ in range(300)]
    head = f"GET /metrics HTTP/1.1\r\nHost: x\r\n{basic('alice', 'right')}\r\n\r\n".encode()
    for client in crowd:
        client.send(head)
    assert judge.entered.wait(PATIENCE)
    crowd.pop().reset()  # one that leaves takes the answer from nobody
    judge.held.set()
    assert {client.reply().status for client in crowd} == {200}
    assert len(judge.asked) == 1


def test_a_stop_neither_waits_for_bcrypt_nor_logs_a_traceback_for_it(
    guard: Any, connect: Any, judge: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    server = guard(WITH_USERS)
    judge.held.clear()
    head = f"GET /metrics HTTP/1.1\r\nHost: x\r\n{basic('alice', 'right')}\r\n\r\n"
    client = connect(server).send(head.encode())
    assert judge.entered.wait(PATIENCE)
    server.stop(1.0)
    assert client.rest() == b""
    assert not judge.held.is_set()
    assert [record.message for record in caplog.records] == ["1 connections were cut at the stop"]


def test_a_verdict_that_comes_after_the_stop_disturbs_nobody(
    judge: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    known = Logins()

    async def leave() -> None:
        waiting = asyncio.ensure_future(known.check(USERS, b"alice", b"right"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    judge.held.clear()
    asyncio.run(leave())
    judge.held.set()
    known._thread.shutdown(wait=True)
    assert len(judge.asked) == 1
    assert caplog.records == []


def test_too_many_different_logins_are_sent_away(judge: Judge) -> None:
    async def crowd() -> None:
        known = Logins()
        judge.held.clear()
        waiting = [
            asyncio.ensure_future(known.check(USERS, b"alice", f"wrong {number}".encode()))
            for number in range(MAX_WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyLogins):
            await known.check(USERS, b"alice", b"one more")
        judge.held.set()
        assert not any(await asyncio.gather(*waiting))
        assert await known.check(USERS, b"alice", b"right")

    asyncio.run(crowd())


# -- rate limit ------------------------------------------------------------------------------------


def test_the_rate_limit_gives_a_burst_and_then_one_each_interval(
    guard: Any, connect: Any, clock: FixedClock
) -> None:
    client = connect(guard(WebConfig(rate_limit=RateLimit(10.0, 3))))
    assert [client.get("/metrics").status for _ in range(4)] == [200, 200, 200, 429]
    clock.advance(4)
    reply = client.get("/metrics")
    assert (reply.status, reply.headers["retry-after"], reply.body) == (429, "6", b"too many requests\n")
    clock.advance(6)
    assert [client.get("/metrics").status for _ in range(2)] == [200, 429]
    clock.advance(1000)
    assert [client.get("/metrics").status for _ in range(4)] == [200, 200, 200, 429]


def test_the_rate_limit_comes_before_the_password_and_spares_open_probes(
    guard: Any, connect: Any, judge: Judge
) -> None:
    client = connect(guard(WebConfig(users=USERS, rate_limit=RateLimit(10.0, 1)), PROBES))
    assert [client.get("/healthz").status for _ in range(5)] == [200] * 5
    login = basic("alice", "right")
    assert [client.get("/metrics", login).status for _ in range(2)] == [200, 429]
    assert client.get("/metrics").status == 429
    assert client.get("/healthz").status == 200
    assert len(judge.asked) == 1


def test_probes_that_need_a_password_count(guard: Any, connect: Any) -> None:
    client = connect(guard(WebConfig(users=USERS, rate_limit=RateLimit(10.0, 1))))
    assert [client.get("/healthz").status for _ in range(2)] == [401, 429]


def test_a_changed_rate_limit_counts_at_once(guard: Any, connect: Any, configured: Configured) -> None:
    client = connect(guard(WebConfig(rate_limit=RateLimit(10.0, 1))))
    assert [client.get("/metrics").status for _ in range(2)] == [200, 429]
    configured.config = WebConfig(rate_limit=RateLimit(10.0, 2))
    assert [client.get("/metrics").status for _ in range(3)] == [200, 200, 429]
    configured.config = WebConfig()
    assert [client.get("/metrics").status for _ in range(5)] == [200] * 5


# -- headers ---------------------------------------------------------------------------------------

HEADERS = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
    "Content-Security-Policy": "default-src 'none'",
}


def _all(headers: Mapping[str, str]) -> bool:
    return all(headers.get(name.lower()) == value for name, value in HEADERS.items())


def test_every_answer_carries_the_headers_each_once(guard: Any, connect: Any) -> None:
    def fail(*_: object) -> list[bytes]:
        raise RuntimeError("boom")

    config = WebConfig(users=USERS, headers=HEADERS, rate_limit=RateLimit(1000.0, 6))
    client = connect(guard(config, frozenset({"/healthz"}), render=fail))
    login = basic("alice", "open sesame")
    seen = {}
    for path, *fields in (
        ("/healthz",),
        ("/metrics",),
        ("/nowhere", login),
        ("/", login),
        ("/-/reload", login),
        ("/-/ready", login),
        ("/metrics", login),
        ("/metrics", login),
    ):
        reply = client.get(path, *fields)  # asserts that no header comes twice
        assert _all(reply.headers), (path, reply)
        seen[reply.status] = path
    assert sorted(seen) == [200, 401, 404, 405, 429, 500]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET /", 408),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET /" + b"a" * 10_000, 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_what_never_reaches_the_application_carries_the_headers_too(
    guard: Any, connect: Any, request_: bytes, status: int
) -> None:
    reply = connect(guard(WebConfig(headers=HEADERS), header_seconds=0.2)).send(request_).reply()
    assert reply.status == status
    assert _all(reply.headers)


def test_a_refused_login_is_typed(guard: Any, connect: Any) -> None:
    reply = connect(guard(WITH_USERS)).get("/metrics")
    assert (reply.status, reply.headers["x-content-type-options"]) == (401, "nosniff")


def test_without_configured_headers_those_of_the_application_stay(guard: Any, connect: Any) -> None:
    reply = connect(guard(WebConfig())).get("/")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "style-src" in reply.headers["content-security-policy"]
