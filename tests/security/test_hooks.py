"""The door that asks for no password: who sends hooks without the secret gets nothing and costs little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import yaml

from tests.security.conftest import MakeTarget
from tests.support import hooked
from tests.support.attack import Target
from tests.support.hooked import SECRET, body_of, signed
from tests.support.process import wait_until
from tests.support.wire import heard

LARGEST = 2**20
BODY = body_of("group/app", [1, "success"])
# Of the password `web-login`; the door of hooks never asks for it.
USERS = "basic_auth_users: {prometheus: $2b$04$Qc1PS2vPh5lqVNqGYVxTbOEb7nLr1f7vKqJ8mD0Uo9pXnBzq1aZyK}\n"


@pytest.fixture
def door(make_target: MakeTarget) -> Target:
    """The program with hooks on the address of its metrics, started."""
    target = make_target(lifecycle=True)
    hooked.install(target.folder / "installed")
    config = yaml.safe_load(target.config_path.read_text())
    config["hooks"] = {"enabled": True, "max_body_bytes": LARGEST}
    config["collectors"]["hooked"] = {"secret": SECRET}
    target.write_config(config)
    return target.start().wait_built()


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def fields(secret: str = SECRET) -> list[str]:
    return [f"{name}: {value}" for name, value in signed(BODY, secret).items()]


def test_a_crowd_that_sends_large_hooks_fills_no_memory_and_holds_up_no_scrape(
    door: Target, crowd: ExitStack
) -> None:
    before = door.megabytes()
    head = f"POST /hooks/hooked HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGEST}\r\n\r\n".encode()
    senders = [crowd.enter_context(door.wire()).send(head + b"x" * (LARGEST - 1)) for _ in range(120)]
    assert door.ask("/metrics").status == 200
    # 120 MB were sent; all bodies together may have 64 MiB, and more is refused.
    assert door.megabytes() - before < 110
    statuses = [sender.send(b"x").reply().status for sender in senders]
    assert set(statuses) == {401, 503}
    assert statuses.count(401) >= 60


def test_a_flood_of_wrong_secrets_is_refused_and_fills_no_log(door: Target) -> None:
    with door.wire() as wire:
        replies = [
            wire.ask("/hooks/hooked", *fields(f"guess-{number}"), method="POST", body=BODY)
            for number in range(300)
        ]
        assert {reply.status for reply in replies} == {401}
        assert len({reply.body for reply in replies}) == 1
        assert wire.ask("/hooks/hooked", *fields(), method="POST", body=BODY).status == 202
    assert door.log_path.read_text().count("a hook was refused") == 1
    assert not [reply for reply in heard if SECRET.encode() in reply.raw]


def test_nothing_else_is_behind_the_door_without_a_password(door: Target) -> None:
    web = door.folder / "web.yaml"
    web.write_text(USERS)
    door.kill()
    door.configure(web_config_file=str(web))
    door.start()

    def is_taken() -> bool:
        try:
            return door.ask("/hooks/hooked", *fields(), method="POST", body=BODY).status in (200, 202)
        except (OSError, EOFError):
            return False

    wait_until(is_taken, "hooks are taken without a password")
    for path in (
        "/hooks/../metrics",
        "/hooks/%2e%2e/metrics",
        "/hooks/..%2fmetrics",
        "/hooks//metrics",
        "/hooks/hooked/../../-/config",
        "/hooks/hooked;/metrics",
    ):
        reply = door.ask(path)
        assert reply.status in (404, 405), (path, reply)
        assert b"wall_brick" not in reply.body
    for path in ("/metrics", "/-/config", "/hooksx"):
        assert door.ask(path).status == 401
