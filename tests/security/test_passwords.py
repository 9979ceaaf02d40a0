"""Guessing passwords, and keeping others from theirs."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
import yaml

from tests.support.attack import LOGIN, Target
from tests.support.process import wait_until

COST = 10


def _hash(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()


def _login(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


GOOD = _login(*LOGIN)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The web configuration file."""
    path = tmp_path_factory.mktemp("web") / "web.yml"
    path.write_text(yaml.safe_dump({"basic_auth_users": {LOGIN[0]: _hash(LOGIN[1])}}))
    return path


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, web: Path) -> Iterator[Target]:
    """The program behind passwords, open for probes."""
    folder = tmp_path_factory.mktemp("locked")
    with Target(folder, web_config_file=str(web), probes_without_password=True, lifecycle=True) as target:
        target.fields = (GOOD,)
        yield target.start().wait_built()


def _status(target: Target, *fields: str, path: str = "/metrics?collect[]=gate") -> int:
    with target.tcp() as wire:
        return wire.ask(path, *fields).status


WRONG = {
    "none": (),
    "a wrong password": (_login(LOGIN[0], "guess"),),
    "a wrong user": (_login("admin", LOGIN[1]),),
    "nobody": (_login("", ""),),
    "an empty password": (_login(LOGIN[0], ""),),
    "72 bytes": (_login(LOGIN[0], "x" * 72),),
    "73 bytes": (_login(LOGIN[0], "x" * 73),),
    "10,000 bytes": (_login(LOGIN[0], "x" * 10_000),),
    "NUL": (_login(LOGIN[0], LOGIN[1] + "\0"),),
    "a beginning": (_login(LOGIN[0], LOGIN[1][:-1]),),
    "more behind it": (_login(LOGIN[0], LOGIN[1] + "x"),),
    "another letter case": (_login(LOGIN[0].upper(), LOGIN[1]),),
    "no base64": ("Authorization: Basic %%%",),
    "no colon": ("Authorization: Basic " + base64.b64encode(b"prometheus").decode(),),
    "no UTF-8": ("Authorization: Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),),
    "Bearer": ("Authorization: Bearer " + LOGIN[1],),
    "two headers": (GOOD, GOOD),
    "nothing in it": ("Authorization:",),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_login_is_401_and_opens_nothing(locked: Target, name: str) -> None:
    with locked.tcp() as wire:
        reply = wire.ask("/metrics", *WRONG[name])
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Basic realm=")
        assert len(reply.body) < 200


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/metrics", "/-/config", "/-/reload", "/log_level", "/nothing", "/..", "//metrics"),
        *("/api/stats/summary", "/api/openapi.json"),
    ],
)
def test_every_path_but_the_probes_is_locked(locked: Target, path: str) -> None:
    assert _status(locked, path=path) == 401
    assert _status(locked, path="/healthz") == 200


def test_200_wrong_logins_at_once_delay_neither_a_probe_nor_a_known_scrape(locked: Target) -> None:
    assert _status(locked, GOOD) == 200
    answered: list[int] = []

    def guess(number: int) -> None:
        answered.append(_status(locked, _login(LOGIN[0], f"guess {number}")))

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    seconds = []
    while not seconds or (len(answered) < 200 and len(seconds) < 20):
        started = time.monotonic()
        assert _status(locked, path="/healthz") == 200
        assert _status(locked, GOOD) == 200
        seconds.append(time.monotonic() - started)
    for thread in threads:
        thread.join()
    assert set(answered) <= {401, 429}
    # 200 times bcrypt are 14 seconds at this cost.
    assert min(seconds) < 1.0


def test_a_changed_password_counts_without_a_restart_and_a_broken_file_changes_nothing(
    locked: Target, web: Path
) -> None:
    good = web.read_text()
    assert _status(locked, GOOD) == 200
    web.write_text("basic_auth_users: {prometheus: not-a-hash}\n")
    assert _status(locked, GOOD) == 200
    assert _status(locked) == 401
    web.write_text(yaml.safe_dump({"basic_auth_users": {LOGIN[0]: _hash("another one")}}))
    wait_until(lambda: _status(locked, _login(LOGIN[0], "another one")) == 200, "the new password counts")
    assert _status(locked, GOOD) == 401
    web.write_text(good)
    wait_until(lambda: _status(locked, GOOD) == 200, "the old password counts again")
    assert good.split("$")[3].strip() not in locked.log_path.read_text()
