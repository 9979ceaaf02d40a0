"""The demo as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import ROOT, free_port


@contextmanager
def started_demo(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A started demo, and where its pages are; its files are in *folder*/demo, its log is *folder*/log."""
    address = f"127.0.0.1:{free_port()}"
    flags = ["--web.listen-address", address, "--directory", str(folder / "demo")]
    with (folder / "log").open("wb") as log:
        demo = subprocess.Popen(
            [sys.executable, "-m", "exporter", "demo", *flags],
            cwd=ROOT,
            stderr=log,
            env={
                **os.environ, "GITLAB_PRIVATE_TOKEN": "must-not-be-used", "DATABASE_URL": "postgresql://nowhere"
            },
        )  # fmt: skip
    try:
        yield demo, f"http://{address}"
    finally:
        demo.kill()
        demo.wait()
