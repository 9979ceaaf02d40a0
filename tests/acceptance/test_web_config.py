"""The web configuration file with the real process: passwords, changes on disk, refusals."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests
import yaml

from tests.acceptance.conftest import MakeExporter, StartStandIn
from tests.support.certificates import SEVERAL_DAYS_AGO, Pki
from tests.support.process import ExporterProcess, free_port, run_cli, wait_until
from tests.support.promtool import accepts_web_config


def _web(path: Path, **users: str) -> Path:
    """Write a file with *users* by password in the place of *path*."""
    hashes = {name: bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode() for name, word in users.items()}
    headers = {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=60"}
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({"basic_auth_users": hashes, "http_server_config": {"headers": headers}}))
    fresh.rename(path)
    return path


@pytest.fixture
def exporter(start_standin: StartStandIn, make_exporter: MakeExporter, tmp_path: Path) -> ExporterProcess:
    """An exporter whose web configuration knows alice, not yet started."""
    exporter = make_exporter(start_standin(projects=1))
    config = yaml.safe_load(exporter.config_path.read_text())
    web = _web(tmp_path / "web.yml", alice="one")
    config["metrics"] |= {"web_config_file": str(web), "probes_without_password": True}
    exporter.write_config(config)
    return exporter


def _status(exporter: ExporterProcess, *login: str, path: str = "/metrics") -> int:
    auth: Any = login or None
    return requests.get(f"{exporter.url}{path}", auth=auth, timeout=10).status_code


def test_users_are_asked_for_their_passwords_and_change_without_a_restart(
    exporter: ExporterProcess, tmp_path: Path
) -> None:
    web = tmp_path / "web.yml"
    assert accepts_web_config(web) in (True, None)
    exporter.start().wait_ready()
    answer = requests.get(f"{exporter.url}/metrics", timeout=10)
    assert (answer.status_code, answer.headers["X-Frame-Options"]) == (401, "deny")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="ci-exporter", charset="UTF-8"'
    assert _status(exporter, "alice", "one") == 200
    assert _status(exporter, "alice", "two") == 401
    assert _status(exporter, "alice", "o" * 73) == 401
    assert _status(exporter, path="/healthz") == 200
    assert _status(exporter, path="/-/config") == 401

    _web(web, alice="two", bob="three")
    assert _status(exporter, "alice", "one") == 401
    assert _status(exporter, "alice", "two") == 200
    assert _status(exporter, "bob", "three") == 200

    web.write_text("basic_auth_users: {alice: hunter2hunter2}\n")
    assert _status(exporter, "alice", "two") == 200
    answer = requests.post(f"{exporter.url}/-/reload", auth=("alice", "two"), timeout=10)
    assert (answer.status_code, "basic_auth_users.alice: is not a bcrypt hash" in answer.text) == (500, True)
    web.write_text("")  # as if half written: passwords stay until a reload says that it is meant
    assert _status(exporter) == 401
    exporter.signal(signal.SIGHUP)
    wait_until(lambda: _status(exporter) == 200, "the reload takes the passwords away")
    assert exporter.terminate() == 0
    text = exporter.log_path.read_text()
    assert "the web configuration file is not valid; the old one stays" in text
    assert "hunter2hunter2" not in text
    assert "Traceback" not in text


def test_a_bad_file_is_told_by_check_and_ends_the_start(exporter: ExporterProcess, tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users: {alice: hunter2hunter2}\ntls_server_config: {cert_file: none.crt}\n")
    for command in ("check", "serve"):
        done = run_cli(command, "--config", str(exporter.config_path))
        assert done.returncode == 2
        assert f"{web}:1: basic_auth_users.alice: is not a bcrypt hash" in done.stderr
        assert f"{web}:2: tls_server_config.cert_file: the file does not exist" in done.stderr
        assert f"{web}:2: tls_server_config.key_file: is required" in done.stderr
        assert "hunter2hunter2" not in done.stderr
        assert "Traceback" not in done.stderr


def test_what_is_hardly_meant_is_told_by_check(exporter: ExporterProcess, tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.renew(not_before=SEVERAL_DAYS_AGO, not_after=SEVERAL_DAYS_AGO + timedelta(days=1))
    web = tmp_path / "web.yml"
    web.write_text("tls_server_config:\n  cert_file: web.crt\n  key_file: web.key\n  min_version: TLS11\n")
    done = run_cli("check", "--config", str(exporter.config_path))
    assert done.returncode == 0, done.stderr
    assert f"warning: {web}:4: tls_server_config.min_version: TLS 1.0 and 1.1 are broken" in done.stderr
    assert f"warning: {web}: the TLS certificate expired at 20" in done.stderr


def test_the_flag_of_other_exporters_names_the_file(exporter: ExporterProcess, tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    other.write_text("http_server_config: {headers: {Server: x}}\n")
    done = run_cli("check", "--config", str(exporter.config_path), "--web.config.file", str(other))
    assert done.returncode == 2
    assert f"{other}:1: http_server_config.headers.Server: unknown header" in done.stderr
    done = run_cli("check", "--config", str(exporter.config_path))
    assert done.returncode == 0, done.stderr


def test_an_address_for_probes_alone_needs_no_password(exporter: ExporterProcess) -> None:
    config = yaml.safe_load(exporter.config_path.read_text())
    port = free_port()
    config["metrics"] |= {"health_addr": f"127.0.0.1:{port}", "probes_without_password": False}
    exporter.write_config(config)
    exporter.session.auth = ("alice", "one")
    exporter.start().wait_ready()
    assert _status(exporter, path="/healthz") == 401
    assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=10).status_code == 200
    assert requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).status_code == 404
