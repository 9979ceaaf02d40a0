"""``ci-exporter report``: a job tells the server how the run it belongs to stands."""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from exporter.cli.sending import Receiver, endpoint, send
from exporter.config.files import Unreadable
from exporter.config.secrets import read_secret
from exporter.errors import ConfigError, ExporterError
from exporter.model.runs import FINISHED, Status

_KEYS = {
    "duration": "duration_seconds",
    "queue": "queue_seconds",
    "url": "web_url",
    "user": "username",
    "job": "jobs",
}
_SAME = (
    "project",
    "status",
    "pipeline",
    "ref",
    "ref_kind",
    "source",
    "run_id",
    "key",
    "created_at",
    "started_at",
    "finished_at",
    "sha",
)
_REPORTED = {name: name for name in _SAME} | _KEYS
"""Flag -> key of the report."""
_MOST_JOBS = 1000
_EARLIEST, _LATEST = timedelta(days=3650), timedelta(days=1)  # how far from now a time may be


def report(options: argparse.Namespace) -> int:
    """Send the report; with ``--best-effort`` a failure is a warning."""
    try:
        receiver = Receiver(endpoint(options.server), _token(options.token_file), options.ca_file)
        told = report_of(options, datetime.now(UTC))
        send(receiver, told, str(uuid.uuid4()), wait_seconds=options.wait_seconds)
    except ExporterError as error:
        if not options.best_effort:
            raise
        print(f"ci-exporter: warning: {error}", file=sys.stderr)
    return 0


def report_of(options: argparse.Namespace, now: datetime) -> dict[str, Any]:
    """The report that the flags tell; one of a run without a number is the only one of that run.

    Raises:
        ConfigError: they do not tell enough.
    """
    given = vars(options)
    told = {key: given[flag] for flag, key in _REPORTED.items() if given.get(flag) not in (None, "", [])}
    _refuse_what_is_not_understood(told, now)
    if "run_id" in told:
        return told
    if "key" in told:
        created_at = told.get("created_at") or told.get("started_at")
        if not created_at:
            raise ConfigError("--key needs --created-at or --started-at, the same in each report of the run")
        return told | {"created_at": created_at}
    if Status(options.status) not in FINISHED:
        raise ConfigError("give --run-id, or --key, so that the end of the run can be told later")
    if options.status != Status.SKIPPED:
        told.setdefault("finished_at", now.isoformat())
    begun = now - timedelta(seconds=options.duration or 0.0)
    told.setdefault("created_at", told.get("started_at") or begun.isoformat())
    return told | {"key": str(uuid.uuid4())}


def _refuse_what_is_not_understood(told: Mapping[str, Any], now: datetime) -> None:
    """The server would acknowledge it all the same, and nobody would hear of it.

    Raises:
        ConfigError: there is something of that kind.
    """
    for key, value in told.items():
        if key.endswith("_at") and not -_EARLIEST <= datetime.fromisoformat(value) - now <= _LATEST:
            raise ConfigError(f"--{key.replace('_', '-')} is years ago or in the future")
    if len(told.get("jobs", ())) > _MOST_JOBS:
        raise ConfigError(f"a report may have at most {_MOST_JOBS:,} jobs")


def _token(path: Path) -> str:
    """What is in the file *path*, or comes on standard input for ``-``.

    Raises:
        ConfigError: nothing.
    """
    if str(path) == "-":
        token = sys.stdin.readline().strip()
        if not token:
            raise ConfigError("--token-file -: nothing came on standard input")
        return token
    try:
        return read_secret(path).strip()
    except Unreadable as error:
        raise ConfigError(f"--token-file: {error}") from None
