"""The demo: one command, and live metrics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import requests

from tests.support.process import ROOT, free_port, wait_until
from tests.support.truth import counted_runs


def test_the_demo_shows_live_metrics_and_ends_cleanly(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    flags = ["--web.listen-address", address, "--directory", str(tmp_path / "demo")]
    with (tmp_path / "log").open("wb") as log:
        demo = subprocess.Popen(
            [sys.executable, "-m", "exporter", "demo", *flags],
            cwd=ROOT,
            stderr=log,
            env={**os.environ, "GITLAB_PRIVATE_TOKEN": "must-not-be-used"},
        )
    try:
        wait_until(lambda: _status(f"http://{address}/-/ready") == 200, "the demo is ready")
        before = counted_runs(requests.get(f"http://{address}/metrics", timeout=5).text).total()
        assert before > 100
        wait_until(
            lambda: counted_runs(requests.get(f"http://{address}/metrics", timeout=5).text).total() > before,
            "a run finishes",
        )
        children = _children(demo.pid)
        assert children, "the stand-in is a process of its own"
        demo.send_signal(signal.SIGINT)
        assert demo.wait(6) == 0
        wait_until(
            lambda: not any(Path(f"/proc/{child}").exists() for child in children), "the stand-in ends"
        )
    finally:
        demo.kill()
        demo.wait()
    assert f"http://{address}/metrics" in (tmp_path / "log").read_text()


def _status(url: str) -> int:
    try:
        return requests.get(url, timeout=5).status_code
    except requests.RequestException:
        return 0


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]
