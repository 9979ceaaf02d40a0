"""The flags of ``ci-exporter report``: what is reported, to whom, and how patiently.

What the server would not understand is refused here: it acknowledges a report before it reads it. An empty
value is none, since variables of a CI system are often empty.
"""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from exporter.model.runs import RefKind, Status

STATUSES = tuple(status.value for status in Status if status is not Status.UNKNOWN)
_LONGEST_URL = 2000
_TIME = "must be a time such as 2026-03-02T08:00:00Z, or Unix seconds"


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add them to *parser*."""
    add = parser.add_argument
    add("--server", required=True, metavar="URL", help="address of the running ci-exporter")
    add("--token-file", required=True, type=Path, metavar="FILE", help="file with its secret; - reads stdin")
    add("--project", required=True, type=_name, metavar="NAME", help="the project, such as team/app")
    add("--status", required=True, choices=STATUSES, help="where the run stands")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--run-id", type=_run_id, metavar="N", help="number of the run, which grows")
    which.add_argument(
        "--key", type=_text, metavar="TEXT", help="instead: tells the run from others; needs --created-at"
    )
    add("--pipeline", type=_text, metavar="NAME", help="name of the pipeline, if the project has several")
    add("--ref", type=_text, metavar="REF", help="branch, tag or change that it is for")
    add("--ref-kind", choices=[kind.value for kind in RefKind], help="what sort of ref it is (branch)")
    add("--source", type=_word, metavar="WORD", help="what started it: push, schedule, web, …")
    add("--created-at", type=_instant, metavar="TIME", help="ISO 8601 with an offset, or Unix seconds")
    add("--started-at", type=_instant, metavar="TIME", help="when it started")
    add("--finished-at", type=_instant, metavar="TIME", help="when it ended (default: now)")
    add("--duration", type=_seconds, metavar="SECONDS", help="how long it ran")
    add("--queue", type=_seconds, metavar="SECONDS", help="how long it waited for its start")
    add("--sha", type=_sha, metavar="SHA", help="the commit that it is for")
    add("--url", type=_url, metavar="URL", help="its page")
    add("--user", type=_text, metavar="NAME", help="who started it")
    add("--job", type=_job, action="append", metavar="NAME=STATUS:SECONDS", help="a job (repeatable)")
    add(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="PEM file of the authority behind the server's certificate",
    )
    add("--wait-seconds", type=_patience, default=60.0, metavar="N", help="how long to try (60)")
    add("--best-effort", action="store_true", help="a failure is a warning: the exit code is 0")


def _instant(text: str) -> str | None:
    """A time as reports have it, from ISO 8601 with an offset, or Unix seconds."""
    if not text:
        return None
    try:
        if text.replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(text), UTC).isoformat()
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(_TIME) from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(_TIME)
    return moment.isoformat()


def _seconds(text: str) -> float | None:
    """A duration."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10_000_000:
        raise argparse.ArgumentTypeError("must be a number of seconds")
    return value


def _patience(text: str) -> float:
    return _seconds(text) or 0.0


def _run_id(text: str) -> int | None:
    """The number of a run."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise argparse.ArgumentTypeError("must be a whole number of at most 15 digits")
    return int(text)


def _text(text: str) -> str:
    """A name, as long as one may be, on one line; what is no UTF-8 would spoil the whole report."""
    return re.sub("[\x00-\x1f]", " ", re.sub("[\ud800-\udfff]", "\ufffd", text))[:255]


def _name(text: str) -> str:
    """A name without which there is no report."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return _text(text)


def _word(text: str) -> str:
    """A word that can be a label value, from any."""
    return re.sub("[^a-z0-9_]", "_", text.lower())[:40]


def _sha(text: str) -> str:
    """A commit."""
    if text and not re.fullmatch("[0-9a-fA-F]{7,64}", text):
        raise argparse.ArgumentTypeError("must be a commit in hexadecimal digits")
    return text


def _url(text: str) -> str:
    """The address of a page."""
    if text and not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("must begin with http:// or https://")
    if len(text) > _LONGEST_URL:
        raise argparse.ArgumentTypeError(f"must have at most {_LONGEST_URL} characters")
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _job(text: str) -> dict[str, Any]:
    """A job, from NAME=STATUS or NAME=STATUS:SECONDS; the name may hold a = itself."""
    name, _, state = text.rpartition("=")
    status, _, duration = state.partition(":")
    if not name or status not in STATUSES:
        raise argparse.ArgumentTypeError(f"must be NAME=STATUS:SECONDS, STATUS of {', '.join(STATUSES)}")
    made: dict[str, Any] = {"name": _text(name), "status": status}
    return made | {"duration_seconds": _seconds(duration)} if duration else made
