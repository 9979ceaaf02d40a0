"""Who starts the process that receives hooks does not give up, nor wait for one that hangs."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter import porter as porter_module
from exporter.config.load import Config
from exporter.config.schema import Settings
from exporter.contract import CollectorConfig
from exporter.errors import ConfigError
from exporter.hookmetrics import HookMetrics
from exporter.porter import Porter, unpacked
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
    porter = Porter(CONFIG, [], HookMetrics(CollectorRegistry()), threading.Event())
    porter.start()
    wait_until(lambda: len(tries) >= 2, "it is tried again")
    assert porter.stop(30)
    assert "cannot be started" in caplog.text


# Notes with what it began and went on, and says so, unless it is deaf; and nothing after that.
PROCESS = """
import json, sys
for line in sys.stdin:
    order = json.loads(line)
    if "stop" in order: break
    if {deaf} and not order["descriptors"]: continue
    with open({diary!r}, "a") as diary: diary.write(order["config"] + "\\n")
    print(json.dumps({{"took": order["number"]}}), flush=True)
"""
CONFIG = Config(Settings(), {})
OTHER = Config(Settings.model_validate({"log": {"level": "debug"}}), {})


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Porter]]:
    monkeypatch.setattr(porter_module, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(porter_module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(porter_module, "_STARTING_LOOKS", 10**9)
    porters: list[Porter] = []

    def start_one(*, deaf: bool = False, looks: int = 10**9) -> Porter:
        """A porter that bears with the silence of its process for so many *looks*."""
        monkeypatch.setattr(porter_module, "_SILENT_LOOKS", looks)
        script = PROCESS.format(diary=str(tmp_path / "diary"), deaf=deaf)
        monkeypatch.setattr(porter_module, "_COMMAND", [sys.executable, "-SE", "-c", script])
        porters.append(Porter(CONFIG, [doorway], HookMetrics(CollectorRegistry()), threading.Event()))
        porters[0].start()
        wait_until(lambda: len(diary(tmp_path)) >= 1, "it began")
        return porters[0]

    with socket.socket() as doorway:
        yield start_one
        assert all(porter.stop(30) for porter in porters)


def diary(folder: Path) -> list[Config]:
    """With what a process began or went on."""
    path = folder / "diary"
    return [unpacked(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_process_that_gives_no_sign_of_life_is_ended_and_started_again(
    start: Callable[..., Porter], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start(looks=1)
    wait_until(lambda: len(diary(tmp_path)) >= 2, "another one began")
    assert "no sign of life" in caplog.text


def test_it_goes_on_with_a_new_configuration(start: Callable[..., Porter], tmp_path: Path) -> None:
    start().reload(OTHER, 30)
    assert diary(tmp_path) == [CONFIG, OTHER]


def test_one_that_does_not_take_a_new_configuration_is_started_again_with_it(
    start: Callable[..., Porter], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    porter = start(deaf=True)
    wait_until(lambda: porter._greeted, "it said so")
    porter.reload(OTHER, 0.01)
    wait_until(lambda: diary(tmp_path) == [CONFIG, OTHER], "another one began with it")
    assert "does not take the new configuration" in caplog.text


def test_settings_that_no_other_process_can_have_are_told_at_the_start() -> None:
    class Odd(CollectorConfig):
        """Of no module that could be imported."""

    with pytest.raises(ConfigError, match=r"leave hooks\.addr out"):
        Porter(Config(Settings(), {"odd": Odd()}), [], HookMetrics(CollectorRegistry()), threading.Event())
