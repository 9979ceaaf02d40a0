"""Who starts the process that receives hooks does not give up."""

from __future__ import annotations

import errno
import subprocess
import threading
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter import porter as porter_module
from exporter.hookmetrics import HookMetrics
from exporter.porter import Porter
from tests.support.engine import wait_until


def test_a_process_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[Any] = []

    def refuse(*args: Any, **_options: Any) -> Any:
        tries.append(args)
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(porter_module, "_AGAIN_SECONDS", 0.01)
    porter = Porter({}, [], HookMetrics(CollectorRegistry()), threading.Event())
    porter.start()
    wait_until(lambda: len(tries) >= 2, "it is tried again")
    assert porter.stop(30)
    assert "cannot be started" in caplog.text
