"""What the Dockerfile says; `.ci/image.py` does what it says."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.certificates import Pki
from tests.support.deployment import DEPLOY, ROOT, tool
from tests.support.process import ExporterProcess, free_port, wait_until

FILE = DEPLOY / "Dockerfile"
TEXT = FILE.read_text()
IMAGE: dict[str, Any] = runpy.run_path(str(ROOT / ".ci" / "image.py"))
HEAD, BUILD, FINAL = IMAGE["instructions"](TEXT)
TOLD = dict(FINAL)


def test_hadolint_has_nothing_against_it() -> None:
    done = subprocess.run([tool("hadolint"), FILE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_has_a_version_and_takes_a_digest() -> None:
    bases = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert set(bases) == {"python:${PYTHON_VERSION}-slim-${DEBIAN}${PYTHON_DIGEST}"}
    assert re.search(r"^ARG PYTHON_VERSION=3\.\d+\.\d+$", TEXT, re.MULTILINE)


def test_it_is_nobody_special_and_writes_into_data_alone() -> None:
    assert TOLD["USER"] == "65532:65532"
    assert TOLD["VOLUME"] == TOLD["WORKDIR"] == "/data"
    assert IMAGE["variables"](FINAL)["CI_EXPORTER__STORE__URL"] == "sqlite:////data/pipelines.db"
    assert json.loads(TOLD["ENTRYPOINT"]) == ["ci-exporter"]
    assert TOLD["STOPSIGNAL"] == "SIGTERM"


def test_every_package_is_checked_against_its_hash() -> None:
    (download, install) = (rest for word, rest in BUILD if word == "RUN")
    assert "--require-hashes" in download
    commands = [part for part in install.split("&&") if "-m pip" in part]
    assert len(commands) == 2
    assert all("--no-index" in command for command in commands)


def test_what_is_copied_is_let_through_and_nothing_else_of_weight() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in ignore if line.startswith("!")}
    copied = {name for word, rest in BUILD if word == "COPY" for name in rest.split()[:-1]}
    assert "**" in ignore
    assert let_through == copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_health_check_needs_no_password_and_no_certificate(tmp_path: Path) -> None:
    check = json.loads(TOLD["HEALTHCHECK"].partition(" CMD ")[2])
    health = f":{free_port()}"
    pki = Pki(tmp_path)
    (tmp_path / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {pki.cert}, key_file: {pki.key}, client_ca_file: {pki.client_ca},"
        " client_auth_type: RequireAndVerifyClientCert}\n"
    )
    config = {
        "store": {"url": f"sqlite:///{tmp_path}/s.db"},
        "collectors": {"runner": {}},
        "metrics": {"health_addr": health, "web_config_file": str(tmp_path / "web.yml")},
    }

    def healthy() -> bool:
        # As with a proxy in the environment, which must not be asked.
        env = {"CI_EXPORTER__METRICS__HEALTH_ADDR": health, "http_proxy": "http://127.0.0.1:9"}
        return (
            subprocess.run([sys.executable, *check[1:]], env=env, capture_output=True, check=False).returncode
            == 0
        )

    with ExporterProcess(tmp_path, config) as exporter:
        exporter.start()
        wait_until(healthy, "healthy")
        assert exporter.terminate(60) == 0
    assert not healthy()
