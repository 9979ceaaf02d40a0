"""query-exporter, a baseline of benches: in a venv of its own, as a program of its own, never imported."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.process import free_port

_VERSION = "from importlib.metadata import version; print(version('query-exporter'))"


def install(folder: Path) -> tuple[Path, str]:
    """Its program and its version, the newest this Python gets; ends the bench where there is none."""
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "query-exporter", "psycopg2-binary"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"query-exporter, the baseline, cannot be installed: nothing was measured\n{done.stderr}")
    version = subprocess.run(
        [programs / "python", "-c", _VERSION], capture_output=True, text=True, check=True
    ).stdout.strip()
    return programs / "query-exporter", version


@contextmanager
def running(
    program: Path, folder: Path, config: Mapping[str, Any]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Its process and port; what it logs is in ``query-exporter.log``."""
    (folder / "query-exporter.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        program,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--config",
        folder / "query-exporter.yaml",
    ]
    with (folder / "query-exporter.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        yield process, port
    finally:
        process.kill()  # asked to end, it would wait for queries that run
        process.wait(10)
