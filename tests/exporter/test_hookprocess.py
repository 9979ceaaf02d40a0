"""What the process that receives hooks says to the one that started it."""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import hookprocess
from exporter.config.load import Config
from exporter.config.schema import Settings
from exporter.hookprocess import HookProcess
from exporter.porter import packed
from tests.support.engine import wait_until


@pytest.fixture
def tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HookProcess, io.BytesIO]]:
    """The process, running in this one, and all that it says."""
    monkeypatch.setattr(hookprocess, "_TELL_SECONDS", 0.001)
    handlers = logging.getLogger().handlers[:]
    settings = {"store": {"url": f"sqlite:///{tmp_path}/s.db"}, "metrics": {"enabled": True}}
    config = Config(Settings.model_validate(settings | {"hooks": {"enabled": True}}), {})
    listener = socket.create_server(("127.0.0.1", 0))
    orders = {"number": 7, "config": packed(config), "descriptors": [listener.detach()]}
    said = io.BytesIO()
    process = HookProcess(orders, said)
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb") as stdin, os.fdopen(writes, "wb") as stdout:
        running = threading.Thread(target=process.run, args=(stdin,))
        running.start()
        yield process, said
        stdout.close()
        running.join(60)
    assert not running.is_alive()
    process._parts.close()
    gc.unfreeze()
    logging.getLogger().handlers[:] = handlers


def test_it_says_with_what_it_began_and_that_it_is_well_as_long_as_its_servers_come_round(
    tells: tuple[HookProcess, io.BytesIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, said = tells
    for word in ({"took": 7}, {}):
        wait_until(lambda word=word: word in map(json.loads, said.getvalue().splitlines()), f"it says {word}")
    asked: list[float] = []
    monkeypatch.setattr(process._serving, "turns", lambda seconds: bool(asked.append(seconds)))
    wait_until(lambda: asked, "it asks its servers")
    before = said.getvalue()
    wait_until(lambda: len(asked) >= 3, "it asks them again")
    assert said.getvalue() == before
