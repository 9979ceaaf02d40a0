"""The web configuration file while the program runs: changes on disk, good and bad."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from exporter.errors import ConfigError
from exporter.web import webfile
from exporter.web.webfile import WebConfigFile
from tests.support.certificates import make_pair

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
ALICE = f"basic_auth_users: {{alice: {HASH}}}\n"
BOB = f"basic_auth_users: {{bob__: {HASH}}}\n"
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.yml"


def put(path: Path, content: str | bytes) -> None:
    """Write as a careful operator does: a new file in the place of the old one."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
    fresh.rename(path)


def follow(path: Path, content: str) -> WebConfigFile:
    put(path, content)
    return WebConfigFile(path)


def users(file: WebConfigFile) -> list[str]:
    return list(file.current().users)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def test_a_first_reading_must_be_good(path: Path) -> None:
    with pytest.raises(ConfigError, match="the file does not exist"):
        WebConfigFile(path)
    with pytest.raises(ConfigError, match="unknown key"):
        follow(path, "users: {}")


def test_what_is_hardly_meant_is_told_at_the_start_and_when_it_is_new(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = follow(path, ALICE.replace("alice", '"a:b"'))
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith(f"{path}:1: basic_auth_users.")
    assert "nobody can log in" in told
    put(path, ALICE)
    assert users(file) == ["alice"]
    put(path, "\n" + ALICE.replace("alice", '"a:b"'))
    assert users(file) == ["a:b"]
    assert [record.levelname for record in caplog.records].count("WARNING") == 2


def test_an_unchanged_file_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = follow(path, ALICE)
    before = file.current()
    monkeypatch.setattr(webfile, "load_web_config", None)
    assert file.current() is before


def test_a_change_counts_at_once(path: Path) -> None:
    file = follow(path, ALICE)
    assert users(file) == ["alice"]
    put(path, BOB)
    assert users(file) == ["bob__"]
    path.write_text(ALICE + "http_server_config: {headers: {X-Frame-Options: deny}}")  # in place
    assert users(file) == ["alice"]
    assert file.current().headers == {"X-Frame-Options": "deny"}


def test_a_link_that_leads_elsewhere_is_a_change(path: Path, tmp_path: Path) -> None:
    # As Kubernetes renews a mounted secret: a folder is put in the place of another.
    for name, text in (("one", ALICE), ("two", BOB)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "web.yml").write_text(text)
        os.utime(tmp_path / name / "web.yml", (1, 1))
    (tmp_path / "data").symlink_to("one")
    path.symlink_to("data/web.yml")
    file = WebConfigFile(path)
    (tmp_path / "fresh").symlink_to("two")
    (tmp_path / "fresh").rename(tmp_path / "data")
    assert users(file) == ["bob__"]


@pytest.mark.parametrize("bad", ["users: {}", "basic_auth_users: {alice: x}", "{", b"\xff", None])
def test_a_bad_change_leaves_the_last_good_one_and_is_logged_once_unless_asked_for(
    path: Path, caplog: pytest.LogCaptureFixture, bad: str | bytes | None
) -> None:
    file = follow(path, ALICE)
    if bad is None:
        path.unlink()
    else:
        put(path, bad)
    for _ in range(3):
        assert users(file) == ["alice"]
    told = ["the web configuration file is not valid; the old one stays"]
    assert errors(caplog) == told
    file.reload()
    assert users(file) == ["alice"]
    assert errors(caplog) == told * 2
    assert caplog.records[-1].problems  # type: ignore[attr-defined]
    assert HASH not in str(vars(caplog.records[-1]))
    put(path, BOB)
    assert users(file) == ["bob__"]
    put(path, "other: {}")
    assert users(file) == ["bob__"]
    assert len(errors(caplog)) == 3


def test_another_failure_is_told_too(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = follow(path, ALICE)
    for bad in ("a: 1", "b: 1", "b: 1", "b: 1\n\n"):
        put(path, bad)
        assert users(file) == ["alice"]
    assert len(errors(caplog)) == 2


@pytest.mark.parametrize("half", ["", "# users of this host\n", "basic_auth_users:\n"])
def test_a_file_half_written_opens_no_door(path: Path, caplog: pytest.LogCaptureFixture, half: str) -> None:
    file = follow(path, ALICE)
    path.write_text(half)
    assert [users(file), users(file)] == [["alice"], ["alice"]]
    assert len(errors(caplog)) == 1
    assert "no longer asks for passwords" in errors(caplog)[0]
    file.reload()  # whoever says so means it
    assert users(file) == []
    path.write_text(ALICE)
    assert users(file) == ["alice"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [(3, "no longer asks for client certificates"), (5, "no longer asks for names in client certificates")],
)
def test_a_file_half_written_lets_nobody_in_without_a_certificate(
    path: Path, caplog: pytest.LogCaptureFixture, lines: int, told: str
) -> None:
    make_pair(path.parent, "server")
    whole = """tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: server.crt
  client_allowed_sans: [prometheus.example.org]
"""
    file = follow(path, whole)
    before = file.current().tls
    path.write_text("".join(whole.splitlines(keepends=True)[:lines]))
    assert file.current().tls == before
    assert [told in line for line in errors(caplog)] == [True]
    file.reload()  # whoever says so means it
    assert file.current().tls != before
    path.write_text(whole)
    assert file.current().tls == before


@pytest.mark.parametrize(("before", "after"), [("", TLS), (TLS, "")])
def test_tls_is_not_switched_while_running(
    path: Path, caplog: pytest.LogCaptureFixture, before: str, after: str
) -> None:
    make_pair(path.parent, "server")
    file = follow(path, before + ALICE)
    put(path, after + BOB)
    assert users(file) == ["bob__"], "what else the file says counts"
    file.reload()
    assert users(file) == ["bob__"]
    assert (file.current().tls is None) == (before == "")
    (told, again) = errors(caplog)
    assert "needs a restart" in told
    assert again == told, "who asks for a reload is told each time"


def test_a_certificate_renewed_in_two_steps_is_followed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = path.parent
    make_pair(folder, "server")
    make_pair(folder, "fresh")
    file = follow(path, TLS + ALICE)
    first = file.current()
    (folder / "fresh.crt").rename(folder / "server.crt")
    assert file.current() is first, "the new certificate does not fit the old key"
    assert len(errors(caplog)) == 1
    (folder / "fresh.key").rename(folder / "server.key")
    second = file.current()
    assert second == first
    assert second is not first
    assert len(errors(caplog)) == 1


def test_a_key_that_becomes_readable_is_noticed(path: Path) -> None:
    make_pair(path.parent, "server")
    file = follow(path, TLS + ALICE)
    (path.parent / "server.key").rename(path.parent / "away.key")
    put(path, TLS + BOB)
    assert users(file) == ["alice"]
    (path.parent / "away.key").rename(path.parent / "server.key")
    assert users(file) == ["bob__"]


def test_threads_see_whole_configurations_only(path: Path) -> None:
    file = follow(path, ALICE)
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            seen.update("+".join(users(file)) for _ in range(50))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(50):
        put(path, BOB if number % 2 == 0 else ALICE)
        file.current()
    put(path, BOB)
    ended.set()
    for thread in threads:
        thread.join()
    assert seen <= {"alice", "bob__"}
    assert users(file) == ["bob__"]
