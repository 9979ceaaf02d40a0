"""The stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from collectors.postgres.standin.programs import installed
from exporter.contract import DemoSource
from exporter.errors import ExporterError

_START_SECONDS = 60.0
_ROOT = Path(__file__).resolve().parents[3]
_LOG = "postgres-standin.log"
_ALERT_RULES: tuple[Mapping[str, object], ...] = (
    {
        "name": "missing-report",
        "kind": "rows",
        "family": "oneclick_pr_missing_report",
        "where": {"pr_state": "open"},
        "above": 0,
        "title": "{{ labels.project }}: {{ value|number }} open pull requests lack a report",
    },
)


def demo_source(directory: Path, *, moving: bool = True) -> DemoSource:
    """A started PostgreSQL with pull requests of ten projects, its files in *directory*; it ends with us.

    Something happens every second, unless it is not *moving*: then it stays as it is at the start.

    Raises:
        ConfigError: the wheel with PostgreSQL is not installed.
        ExporterError: it did not start.
    """
    installed()
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / _LOG
    paths = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-m", "collectors.postgres.standin", "--parent", str(os.getpid())]
    log.touch(mode=0o600)
    with log.open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603
            [*command, *([] if moving else ["--frozen"]), "--", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
    assert process.stdout is not None  # noqa: S101
    ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    dsn = process.stdout.readline().strip() if ready else ""
    process.stdout.close()
    if not dsn:
        process.terminate()
        process.wait()
        raise ExporterError(f"The demo's PostgreSQL did not start; {log} tells why")
    # Whoever ends it does so by its id; without this Popen would warn of a process that still runs.
    process.returncode = 0
    block = {"databases": {"main": {"dsn": dsn}}, "interval_seconds": 5}
    return DemoSource(block, f"stand-in PostgreSQL, {dsn}", (process.pid,), _ALERT_RULES)
