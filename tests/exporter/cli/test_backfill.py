"""The command ``backfill``: every source by itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from exporter.cli import commands
from tests.support.giteas import gitea
from tests.support.harness import PROJECT, gitlab
from tests.support.process import run_here


def test_a_source_that_cannot_be_read_does_not_keep_the_history_of_others_from_being_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_end_on_sigterm", lambda _parts: None)  # the signals here are the tests'
    now = int(time.time() * 1000)
    with gitlab(start=now) as refusing, gitea(start=now) as other:
        other.action("create_project", path=PROJECT)
        other.action("new_pipeline", project=PROJECT, jobs=[{"name": "unit"}])
        content = {
            "store": {"url": f"sqlite:///{tmp_path / 'runs.db'}"},
            "collectors": {
                "gitlab": {"url": refusing.url, "token": "not-that-one", "all_projects": "visible"},
                "gitea": {"url": other.url, "token": other.token, "instance": True},
            },
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content))
        done = run_here("backfill", "--config", str(path), "--days", "2")
    assert done.returncode == 1
    assert "gitlab: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "gitea" in done.stdout, done.stdout + done.stderr
