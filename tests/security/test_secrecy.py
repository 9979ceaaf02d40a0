"""Every error that the program can be talked into, and what it gives away: nothing."""

from __future__ import annotations

import json

import pytest

from tests.security.conftest import PRIVATE, MakeTarget
from tests.security.test_syntax import NOT_FOUND, REFUSED
from tests.support.attack import PASSWORD, SECRETS, STORE, TOKEN, Target
from tests.support.process import wait_until
from tests.support.wire import Reply, leaks

BAD_FILES = {
    "no YAML": "collectors: {gitlab: [",
    "a tag": "collectors: !!python/object/apply:os.system ['id']\n",
    "an unknown key": "{good}\nmetrix: {{}}\n",
    "a wrong type": "collectors: {{gitlab: {{url: 'http://a', token: {{a: {token}}}, projects: 7}}}}\n",
    "a secret file that is missing": "collectors: {{gitlab: {{token_file: {folder}/no-such-token}}}}\n",
    "a secret where none belongs": "store: {{url: 'redis://u:{password}@h/{store}'}}\n",
    "an unset variable": "collectors: {{gitlab: {{token: '${{NO_SUCH_VARIABLE}}'}}}}\n",
    "an unknown collector": "collectors: {{nobody: {{token: '{token}'}}}}\n",
    "no query file": "collectors: {{postgres: {{databases: {{m: {{dsn: x, files: ['{folder}/*.no']}}}}}}}}\n",
    "a source that cannot be built": "collectors: {{gitlab: {{url: '{token}', token: '{password}'}}}}\n",
}


def _errors(target: Target) -> list[Reply]:
    """Every error answer there is to get."""
    replies = []
    for _, data in REFUSED.values():
        with target.wire() as wire:
            replies.append(wire.send(data).reply())
    replies += [target.ask(path) for path in NOT_FOUND]
    for path in (
        "/",
        "/metrics",
        "/healthz",
        "/-/healthy",
        "/-/ready",
        "/-/config",
        "/-/reload",
        "/log_level",
    ):
        replies += [target.ask(path, method=method) for method in ("DELETE", "OPTIONS", "PATCH")]
    replies += [
        target.ask("/-/reload"),
        target.ask("/log_level"),
        target.ask("/log_level", method="PUT", body=b"level=" + TOKEN.encode()),
        target.ask("/log_level", method="PUT", body=b"\xff\xfe%ff=&&"),
        target.ask("/metrics?collect[]=os.path"),
        target.ask("/metrics?" + "&".join(["name[]="] * 1001)),
        target.ask("/-/ready"),
    ]
    return replies


def test_no_error_tells_a_secret_a_path_or_a_traceback(target: Target) -> None:
    replies = _errors(target)
    assert {reply.status for reply in replies} == {400, 404, 405, 413, 414, 431, 503}
    assert leaks(replies, SECRETS, PRIVATE) == []


def test_a_refused_reload_tells_what_is_wrong_but_neither_secrets_nor_folders(
    make_target: MakeTarget,
) -> None:
    target = make_target(lifecycle=True).start().wait_built()
    good = target.config_path.read_text()
    told = []
    for bad in BAD_FILES.values():
        words = {"good": good, "token": TOKEN, "password": PASSWORD, "store": STORE, "folder": target.folder}
        target.config_path.write_text(bad.format(**words) if "{{" in bad else bad)
        told.append(target.ask("/-/reload", method="POST"))
    assert {reply.status for reply in told} == {500}
    assert leaks(told, SECRETS, PRIVATE) == []
    assert target.ask("/metrics?collect[]=gate").status == 200
    assert TOKEN not in target.log_path.read_text()


def test_the_lifecycle_is_closed_unless_it_was_opened(make_target: MakeTarget) -> None:
    target = make_target(lifecycle=False).start().wait_built()
    assert target.ask("/-/reload", method="POST").status == 403
    assert target.ask("/log_level", method="PUT", body=b"level=debug").status == 403
    assert "configuration reloaded" not in target.log_path.read_text()


def test_the_configuration_is_shown_without_its_secrets(target: Target) -> None:
    shown = target.ask("/-/config")
    assert shown.status == 200
    assert b"127.0.0.1" in shown.body
    assert leaks([shown], SECRETS, ()) == []


def test_the_log_holds_no_secret_even_at_debug_while_every_source_fails(make_target: MakeTarget) -> None:
    target = make_target(lifecycle=True).start().wait_built()
    assert target.ask("/log_level", method="PUT", body=b"level=debug").status == 200
    _errors(target)
    target.ask("/-/reload", method="POST")
    for collector in ("gitlab", "postgres"):
        wait_until(lambda name=collector: f'"{name}"' in target.log_path.read_text(), "it failed")
    assert target.terminate(30) == 0
    log = target.log_path.read_text()
    assert [secret for secret in SECRETS if secret in log] == []
    # What clients send is not repeated either: it could forge lines, or fill the disk.
    assert len(log.splitlines()) < 200
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())


@pytest.mark.parametrize(
    "told",
    [
        *("Traceback (most recent call last)", 'File "app.py", line 3', "ValueError: no", "in /etc/passwd"),
        *("<class 'int'>", "at 0x7f: object at 0x7f", "/usr/lib/python3", TOKEN, STORE),
    ],
)
def test_the_search_for_leaks_finds_them(told: str) -> None:
    raw = f"HTTP/1.1 500 Internal Server Error\r\n\r\n{told}\n".encode()
    assert leaks([Reply(500, {}, b"", raw)], SECRETS, PRIVATE)
    assert not leaks([Reply(500, {}, b"", raw.replace(told.encode(), b"all is well"))], SECRETS, PRIVATE)
