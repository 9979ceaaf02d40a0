"""Notices, and services that take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.model.alerts import Alert, Notice, NoticeKind, Severity
from tests.support.fakes import NOW
from tests.support.receivers import Services


def make_alert(fingerprint: str = "f1", **facts: Any) -> Alert:
    values: dict[str, Any] = dict(
        fingerprint=fingerprint,
        rule="run_failed",
        severity=Severity.CRITICAL,
        labels={"provider": "gitlab", "project": "acme/app", "ref": "main"},
        title="acme/app: main is broken",
        text="unit failed: script_failure",
        started_at=NOW - timedelta(minutes=5),
        url="https://gitlab.example.com/acme/app/-/pipelines/1",
    )
    return Alert(**(values | facts))


def make_notice(channel: str = "team", **facts: Any) -> Notice:
    values: dict[str, Any] = dict(
        channel=channel,
        kind=NoticeKind.FIRING,
        title="acme/app: main is broken",
        body="unit failed: script_failure\nhttps://gitlab.example.com/acme/app/-/pipelines/1",
        alerts=(make_alert(),),
        created_at=NOW,
    )
    return Notice(**(values | facts))


@pytest.fixture
def alert() -> Callable[..., Alert]:
    """Makes alerts."""
    return make_alert


@pytest.fixture
def notice() -> Callable[..., Notice]:
    """Makes notices."""
    return make_notice


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Every service there is, reached by its own name over TLS."""
    with Services(tmp_path) as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("https_proxy", raising=False)
        yield found
