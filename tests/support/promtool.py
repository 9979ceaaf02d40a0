"""Prometheus' own judge of expositions and web configurations; its absence is a failure, not a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def check_metrics(text: bytes) -> str:
    """What ``promtool check metrics`` has against *text*, empty if nothing or if it may be missing."""
    path = promtool()
    if path is None:
        return ""
    done = subprocess.run(
        [path, "check", "metrics"], input=text, capture_output=True, timeout=30, check=False
    )
    return (done.stdout + done.stderr).decode() or (f"exit code {done.returncode}" if done.returncode else "")


def accepts_web_config(file: Path) -> bool | None:
    """Whether ``promtool check web-config`` takes *file*, ``None`` if it may be missing."""
    path = promtool()
    if path is None:
        return None
    done = subprocess.run([path, "check", "web-config", file], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def promtool() -> str | None:
    """Where promtool is.

    Without it this raises: a test that passes because its judge stayed away proves nothing. Only
    outside CI, and only by ``CI_EXPORTER_NO_PROMTOOL``, can one say that this machine has none.
    """
    path = shutil.which("promtool")
    if path is None and not (os.environ.get("CI_EXPORTER_NO_PROMTOOL") and not os.environ.get("CI")):
        raise AssertionError(
            "promtool is missing: install Prometheus (Debian package prometheus), or set"
            " CI_EXPORTER_NO_PROMTOOL=1 to go without it on this machine"
        )
    return path
