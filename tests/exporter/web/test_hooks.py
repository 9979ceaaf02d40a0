"""``POST /hooks/…`` over real sockets: size, proof, queue, answer, in that order."""

from __future__ import annotations

import asyncio
import gzip
import logging
import select
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry

from exporter.clock import FixedClock
from exporter.contract import Context
from exporter.errors import ConfigError
from exporter.hookmetrics import HookMetrics
from exporter.store.inbox import Inbox
from exporter.store.intake import Intake, Outcome
from exporter.store.room import Room
from exporter.store.sql import SqlStore
from exporter.web.app import WebParts, build_app
from exporter.web.gate import Gate
from exporter.web.hooks import PREFIX, HookDoor, _Returns
from exporter.web.limits import Limits
from exporter.web.listen import bind
from exporter.web.server import WebServer
from exporter.web.webconfig import WebConfig
from tests.support.fakes import World
from tests.support.hooked import SECRET, Hooked, HookedConfig, Reported, body_of, signed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMIT = 200_000
UPLOADS = Limits(upload_prefix=PREFIX, upload_bytes=LIMIT, bodies_bytes=4 * LIMIT)
BODY = body_of("group/app", [1, "success"])
FIELDS = [f"{name}: {value}" for name, value in signed(BODY, delivery="one").items()]


class Site:
    """A server with hooks, and what it kept."""

    def __init__(self, folder: Path, parts: WebParts, limits: Limits = UPLOADS, **room: int) -> None:
        self.store = SqlStore(f"sqlite:///{folder}/site.db")
        self.inbox: Inbox = self.store.inbox()
        self.registry = CollectorRegistry()
        metrics, clock = HookMetrics(self.registry), FixedClock(NOW)
        world = World()
        config = HookedConfig(secret=SECRET)
        self.collectors: dict[str, Any] = {
            cls.name: cls(config, self._context(world, cls)) for cls in (Hooked, Reported)
        }
        self.intake = Intake(
            self.inbox, Room(room.get("hooks", 100), 10**9), metrics, clock, lambda: ["hooked"]
        )
        self.door = HookDoor(self._accepting, self.intake, metrics, clock)
        self.app = build_app(replace(parts, hooks=self.door))
        self.web = WebConfig()
        gate = Gate(self.app, lambda: self.web, open_folders=(PREFIX,))
        self.server = WebServer(gate, bind(["127.0.0.1:0"]), limits, refused=self.door.refused)
        self.intake.start()
        self.server.start()

    @staticmethod
    def _context(world: World, cls: type[Hooked]) -> Context:
        return world.context(cls.name, cls.families)

    def _accepting(self, name: str) -> list[tuple[str, Any]]:
        return [(one.name, one) for one in self.collectors.values() if one.hook_name == name]

    def count(self, result: str, collector: str = "hooked") -> float:
        labels = {"collector": collector, "result": result}
        return self.registry.get_sample_value("ci_exporter_hooks_received_total", labels) or 0

    def kept(self, collector: str = "hooked") -> list[Any]:
        return [one.hook for one in self.inbox.read(collector, NOW, limit=100, size=10**9)]

    def close(self) -> None:
        self.server.stop(1.0)
        assert self.intake.stop(30)
        self.store.close()


@pytest.fixture
def make_site(tmp_path: Path, parts: WebParts) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**room: Any) -> Site:
        made.append(Site(tmp_path, parts, **room))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


@pytest.fixture
def post(connect: Callable[..., Any], site: Site) -> Callable[..., Any]:
    """The reply to one hook on a connection of its own."""

    def send(body: bytes = BODY, *fields: str, path: str = "/hooks/hooked", method: str = "POST") -> Any:
        return connect(site.server).ask(path, *(fields or FIELDS), method=method, body=body)

    return send


def test_an_authentic_hook_is_kept_before_it_is_acknowledged(site: Site, post: Callable[..., Any]) -> None:
    reply = post()
    assert (reply.status, reply.body) == (202, b"accepted\n")
    [hook] = site.kept()
    assert (hook.body, hook.received_at) == (BODY, NOW)
    assert site.count("accepted") == 1
    last = site.registry.get_sample_value(
        "ci_exporter_hooks_last_received_timestamp_seconds", {"collector": "hooked"}
    )
    assert last == NOW.timestamp()


def test_a_repetition_is_acknowledged_and_counted(site: Site, post: Callable[..., Any]) -> None:
    assert [post().status, post().status] == [202, 200]
    assert (site.count("accepted"), site.count("duplicate"), len(site.kept())) == (1, 1, 1)


def test_proofs_and_addresses_are_not_stored(site: Site, post: Callable[..., Any]) -> None:
    private = ["X-Forge-Token: t0ken", "Authorization: Basic x", "Cookie: c=1", "X-Forwarded-For: 192.0.2.1"]
    post(BODY, *FIELDS, *private, "X-Forge-Event: run")
    assert site.kept()[0].headers == {
        "content-type": "application/json",
        "x-delivery": "one",
        "x-forge-event": "run",
    }


def test_a_header_that_came_twice_proves_nothing(site: Site, post: Callable[..., Any]) -> None:
    assert post(BODY, *FIELDS, FIELDS[0]).status == 401


def test_a_collector_that_raises_over_a_proof_takes_no_hook(
    site: Site, post: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(site.collectors["hooked"], "hook_is_authentic", lambda _hook: 1 / 0)
    assert post().status == 401
    assert "ZeroDivisionError" in caplog.text
    assert site.kept() == []


@pytest.mark.parametrize(
    "fields",
    [
        [f"{name}: {value}" for name, value in signed(BODY, "another secret").items()],
        [f"{name}: {value}" for name, value in signed(BODY, "").items()],
        [f"{name}: {value}" for name, value in signed(b"another body").items()],
        ["Content-Type: application/json"],
        ["X-Signature: \xff\xfe"],
    ],
)
def test_who_does_not_know_the_secret_is_refused(
    site: Site, post: Callable[..., Any], caplog: pytest.LogCaptureFixture, fields: list[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        reply = post(BODY, *fields)
        assert (reply.status, reply.body) == (401, b"the hook does not prove where it comes from\n")
        assert SECRET.encode() not in reply.raw
    assert site.count("refused") == 2
    assert site.kept() == []
    assert SECRET not in caplog.text
    refusals = [record for record in caplog.records if "was refused" in record.message]
    assert [record.levelno for record in refusals] == [logging.WARNING, logging.DEBUG]


def test_unknown_names_and_other_methods(site: Site, post: Callable[..., Any]) -> None:
    assert post(path="/hooks/forge").status == 404
    assert post(path="/hooks/").status == 404
    assert post(path="/hooks/hooked/more").status == 404
    for method in ("GET", "PUT", "HEAD", "DELETE"):
        reply = post(b"", method=method)
        assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert site.kept() == []


def test_two_collectors_of_one_name_both_get_what_they_find_authentic(
    site: Site, post: Callable[..., Any]
) -> None:
    site.collectors["reported"].hook_name = "hooked"  # as if it were written in the class
    assert post().status == 202
    assert (len(site.kept()), len(site.kept("reported"))) == (1, 1)
    site.collectors["reported"].config = HookedConfig(secret="another")
    assert post(*_second()).status == 202
    assert (len(site.kept()), len(site.kept("reported"))) == (2, 1)


def _second() -> tuple[Any, ...]:
    body = body_of("group/app", [2, "success"])
    return body, *(f"{name}: {value}" for name, value in signed(body, delivery="two").items())


# -- what a hook may cost


def test_a_hook_up_to_the_limit_is_taken_and_a_larger_one_refused(
    site: Site, post: Callable[..., Any]
) -> None:
    fitting = b"x" * LIMIT
    assert post(fitting, *(f"{name}: {value}" for name, value in signed(fitting).items())).status == 202
    assert post(fitting + b"x", "X-Signature: 0").status == 413
    assert (site.count("too_large"), site.count("refused")) == (1, 0)


def test_a_chunked_hook_is_refused_as_soon_as_it_is_too_large(
    site: Site, connect: Callable[..., Any]
) -> None:
    client = connect(site.server)
    client.send(b"POST /hooks/hooked?x=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(LIMIT // 10_000 + 1):
        client.send(b"%x\r\n%s\r\n" % (10_000, b"x" * 10_000))
    assert client.reply().status == 413
    assert site.count("too_large") == 1


def test_a_hook_in_crumbs_is_refused_before_it_keeps_the_server_busy(
    site: Site, connect: Callable[..., Any]
) -> None:
    wire = connect(site.server)
    wire.send(b"POST /hooks/hooked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.send(b"1\r\nx\r\n" * 10_000)
    reply = wire.reply()
    assert (reply.status, reply.body) == (400, b"The body of the request comes in too many chunks.\n")


def test_a_hook_whose_first_chunks_are_small_is_taken(site: Site, connect: Callable[..., Any]) -> None:
    body = BODY + b" " * (LIMIT - len(BODY))
    fields = "".join(f"{name}: {value}\r\n" for name, value in signed(body, delivery="two").items())
    pieces = b"".join(b"14\r\n" + body[at : at + 20] + b"\r\n" for at in range(0, 80_000, 20))
    rest = body[80_000:]
    head = f"POST /hooks/hooked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{fields}\r\n".encode()
    wire = connect(site.server)
    wire.send(head + pieces + b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest))
    assert wire.reply().status == 202


def test_other_paths_keep_their_own_limit(site: Site, post: Callable[..., Any]) -> None:
    body = b"level=debug" + b"x" * 65_536
    assert post(body, "A: b", path="/log_level", method="PUT").status == 413
    assert site.count("too_large") == 0


def test_compressed_hooks_are_refused(site: Site, post: Callable[..., Any]) -> None:
    assert post(gzip.compress(BODY), *FIELDS, "Content-Encoding: gzip").status == 415
    assert post(BODY, *FIELDS, "Content-Encoding: identity").status == 202


def test_many_large_hooks_at_once_do_not_fill_the_memory(
    make_site: Callable[..., Site], connect: Callable[..., Any]
) -> None:
    site = make_site(limits=replace(UPLOADS, bodies_bytes=2 * LIMIT))
    head = f"POST /hooks/hooked HTTP/1.1\r\nHost: a\r\nContent-Length: {LIMIT}\r\n\r\n".encode()
    clients = {one.sock: one for one in [connect(site.server) for _ in range(3)]}
    for client in clients.values():
        client.send(head + b"x" * (LIMIT - 1))
    [refused], _, _ = select.select(list(clients), [], [], 30)
    assert clients.pop(refused).reply().status == 503
    assert site.count("rejected") == 1
    for client in clients.values():
        assert client.send(b"x").reply().status == 401
    # What the others held is free again.
    assert connect(site.server).send(head + b"x" * LIMIT).reply().status == 401


def test_a_slow_sender_is_cut(make_site: Callable[..., Site], connect: Callable[..., Any]) -> None:
    site = make_site(limits=replace(UPLOADS, request_seconds=0.2))
    client = connect(site.server)
    client.send(b"POST /hooks/hooked HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
    assert client.reply().status == 408


def test_a_full_queue_asks_to_come_back_later(
    make_site: Callable[..., Site], connect: Callable[..., Any]
) -> None:
    site = make_site(hooks=1)
    assert connect(site.server).ask("/hooks/hooked", *FIELDS, method="POST", body=BODY).status == 202
    body, *fields = _second()
    reply = connect(site.server).ask("/hooks/hooked", *fields, method="POST", body=body)
    assert (reply.status, reply.headers["retry-after"]) == (503, "30")
    assert site.count("rejected") == 1
    assert len(site.kept()) == 1


def test_an_intake_that_has_stopped_keeps_nothing(site: Site, post: Callable[..., Any]) -> None:
    assert site.intake.stop(30)
    assert post().status == 503
    assert site.kept() == []


# -- beside everything else


def test_hooks_need_no_password_of_ours_and_everything_else_does(
    site: Site, post: Callable[..., Any]
) -> None:
    site.web = WebConfig(users={"prometheus": b"$2b$04$invalid"})
    assert post().status == 202
    assert post(b"", "A: b", path="/metrics", method="GET").status == 401
    assert post(b"", "A: b", path="/hooksmetrics", method="GET").status == 401


@pytest.mark.parametrize("path", ["/hooks/metrics", "/hooks/"])
def test_the_metrics_are_not_below_the_hooks_where_no_password_is_asked_for(
    parts: WebParts, path: str
) -> None:
    with pytest.raises(ConfigError, match="not one of our own"):
        build_app(replace(parts, telemetry_path=path))


def test_without_hooks_there_is_no_endpoint(serve: Callable[..., Any], connect: Callable[..., Any]) -> None:
    assert connect(serve()).ask("/hooks/hooked", *FIELDS, method="POST", body=BODY).status == 404


def test_outcomes_of_one_commit_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def settle(*outcomes: Outcome) -> list[Outcome]:
        ended = [loop.create_future() for _ in outcomes]
        for one, outcome in zip(ended, outcomes, strict=True):
            returns.put(one, outcome)
        return await asyncio.gather(*ended)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        returns, wakes = _Returns(loop), Mock(wraps=loop.call_soon_threadsafe)
        monkeypatch.setattr(loop, "call_soon_threadsafe", wakes)
        assert runner.run(settle(Outcome.KEPT, Outcome.KNOWN)) == [Outcome.KEPT, Outcome.KNOWN]
        assert wakes.call_count == 1
        assert runner.run(settle(Outcome.NO_ROOM)) == [Outcome.NO_ROOM]
    # Nobody is there any more, which is no fault of who puts.
    returns.put(Mock(), Outcome.KEPT)
