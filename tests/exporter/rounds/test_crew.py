"""A crew whose threads the system refuses."""

from __future__ import annotations

import threading

import pytest

from exporter.rounds.agenda import Task
from exporter.rounds.crew import Crew
from tests.support.process import PATIENCE


def test_workers_that_cannot_be_started_are_told_and_come_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    crew, done = Crew("poll-gitlab"), threading.Event()
    crew.agenda.add(Task(("gitlab", "poll", "1"), done.set), 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        crew.resize(2)
    (line,) = caplog.records
    assert "raise the limit" in line.message
    crew.resize(2)
    assert done.wait(PATIENCE)
    crew.agenda.close()
