"""The process that receives hooks: started again if it ends, gone with the one that started it, and heard."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.support.certificates import Pki
from tests.support.hooked import SECRET, body_of, install, signed
from tests.support.process import ExporterProcess, free_port, wait_until

APP = "group/app"


class Apart(ExporterProcess):
    """An exporter whose hooks have an address of their own."""

    def __init__(self, folder: Path, imported: Path, **metrics: Any) -> None:
        self.hooks_port = free_port()
        self.scheme, self.verify = "http", ""
        config = {
            "store": {"url": f"sqlite:///{folder}/runs.db"},
            "hooks": {
                "enabled": True,
                "addr": f"127.0.0.1:{self.hooks_port}",
                "max_body_bytes": 100_000,
            },
            "collectors": {"hooked": {"secret": SECRET, "units": [APP]}},
            "metrics": metrics,
        }
        super().__init__(folder, config, import_from=(imported,))

    def post(self, number: int, **more: Any) -> requests.Response:
        """The answer to the hook of a finished run."""
        body = body_of(APP, [number, "success", datetime.now(UTC).isoformat()], **more)
        return self.send(body, signed(body, delivery=str(number)))

    def send(self, body: bytes, headers: dict[str, str]) -> requests.Response:
        url = f"{self.scheme}://127.0.0.1:{self.hooks_port}/hooks/hooked"
        return requests.post(url, data=body, headers=headers, timeout=60, verify=self.verify or True)

    def result(self, result: str) -> float:
        wanted = f'ci_exporter_hooks_received_total{{collector="hooked",result="{result}"}} '
        return next(float(line.removeprefix(wanted)) for line in self.lines() if line.startswith(wanted))

    def shown(self) -> float:
        """How many runs were counted."""
        runs = [line for line in self.lines() if line.startswith("ci_pipeline_runs_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in runs)

    def lines(self) -> list[str]:
        return self.scrape().splitlines()

    def porter(self) -> int | None:
        """The process that receives."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text().split():
                    if b"exporter.hookprocess" in Path(f"/proc/{child}/cmdline").read_bytes():
                        return int(child)
        return None


@pytest.fixture
def make_apart(stack: ExitStack, tmp_path: Path) -> Callable[..., Apart]:
    imported = install(tmp_path / "installed")
    return lambda **metrics: stack.enter_context(Apart(tmp_path, imported, **metrics))


def answers(port: int) -> bool:
    """Whether anyone takes connections there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def is_gone(process: int) -> bool:
    """Whether a process has ended, be it that nobody has asked how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_hooks_for_a_store_in_memory_are_received_where_it_is(make_apart: Callable[..., Apart]) -> None:
    exporter = make_apart()
    config = yaml.safe_load(exporter.config_path.read_text())
    exporter.write_config(config | {"store": {"url": "sqlite://"}})
    exporter.start().wait_ready()
    assert exporter.post(1).status_code == 202
    wait_until(lambda: exporter.shown() == 1, "it is read")
    assert exporter.porter() is None
    assert exporter.terminate() == 0


def test_what_it_counts_is_in_the_metrics(make_apart: Callable[..., Apart]) -> None:
    exporter = make_apart().start().wait_ready()
    statuses = [exporter.post(number).status_code for number in (1, 2, 1)]
    assert statuses == [202, 202, 200]
    body = body_of(APP, [3, "success"])
    assert exporter.send(body, signed(body, "wrong")).status_code == 401
    assert exporter.post(4, padding="x" * 100_000).status_code == 413
    wait_until(lambda: exporter.result("accepted") == 2, "two were accepted")
    wait_until(lambda: exporter.result("too_large") == 1, "one was too large")
    assert (exporter.result("duplicate"), exporter.result("refused")) == (1, 1)
    wait_until(lambda: exporter.shown() == 2, "they are shown")
    assert any(line.startswith("ci_exporter_hooks_last_received") for line in exporter.lines())
    process = exporter.porter()
    assert process is not None
    assert exporter.terminate() == 0
    assert is_gone(process)


def test_it_is_started_again_if_it_ends_and_what_comes_meanwhile_waits(
    make_apart: Callable[..., Apart],
) -> None:
    exporter = make_apart().start().wait_ready()
    assert exporter.post(1).status_code == 202
    wait_until(lambda: exporter.result("accepted") == 1, "it is counted")
    killed = exporter.porter()
    assert killed is not None
    # What the file says meanwhile is not what the service runs with.
    exporter.config_path.write_text("hooks: {enabled: false}")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: is_gone(killed), "it is gone")
    assert exporter.post(2).status_code == 202
    wait_until(lambda: exporter.shown() == 2, "both are shown")
    wait_until(lambda: exporter.result("accepted") == 2, "both are counted")
    assert "is started again" in exporter.log_path.read_text()


def test_it_ends_with_the_process_that_started_it_and_gives_its_address_back(
    make_apart: Callable[..., Apart],
) -> None:
    exporter = make_apart().start().wait_ready()
    assert exporter.post(1).status_code == 202
    process = exporter.porter()
    assert process is not None
    exporter.kill()
    wait_until(lambda: is_gone(process), "it is gone")
    exporter.start().wait_ready()
    assert exporter.post(2).status_code == 202
    wait_until(lambda: exporter.shown() == 2, "both are shown")


def test_it_speaks_tls_as_the_web_configuration_says_and_asks_for_no_password(
    make_apart: Callable[..., Apart], tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    web = tmp_path / "web.yaml"
    web.write_text(
        f"tls_server_config: {{cert_file: {pki.cert}, key_file: {pki.key}}}\n"
        "basic_auth_users: {prometheus: $2b$04$abcdefghijklmnopqrstuuK6xm2G1w6mVdyR2f2Jm3B9l7U1b0Q1m}\n"
    )
    exporter = make_apart(web_config_file=str(web))
    exporter.scheme, exporter.verify = "https", str(pki.client_ca)
    exporter.start()
    wait_until(lambda: answers(exporter.hooks_port), "it listens")
    assert exporter.post(1).status_code == 202
