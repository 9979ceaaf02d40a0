"""What ``check`` says of alerts: templates that fail, and what rules would have sent."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli.alerts import check_templates, rehearsed
from exporter.config.load import Config, load
from exporter.errors import ConfigError
from exporter.store.sql import SqlStore
from tests.support.lookout import TARGET, Lookout, job
from tests.support.process import run_here
from tests.support.stores import ready_store

BRANCH = {"kind": "branch_broken", "name": "main"}


def config(folder: Path, **alerts: Any) -> Config:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"store": {"url": f"sqlite:///{folder}/s.db"}, "alerts": alerts}))
    return load(path, models={}, env={})


def lines(folder: Path, lookout: Lookout, *rules: dict[str, Any], **alerts: Any) -> list[str]:
    read = config(
        folder, **{"channels": {"chat": {"url": "json://127.0.0.1"}}, "rules": list(rules), **alerts}
    )
    return list(rehearsed(read, {TARGET: "forge"}, lookout.now, online=False))


@pytest.fixture
def lookout(tmp_path: Path) -> Lookout:
    return Lookout(lambda: SqlStore(ready_store(tmp_path, "s.db")))


def test_it_tells_what_would_have_been_sent(tmp_path: Path, lookout: Lookout) -> None:
    for status in ("success", "failed", "failed", "success", "failed"):
        lookout.run(status, job("unit", "success" if status == "success" else "failed"))
        lookout.clock.advance(3600)
    rules = [
        BRANCH,
        {"kind": "run_failed", "name": "runs"},
        {"kind": "job_failing", "name": "jobs", "times": 2},
        {"kind": "collector_failing", "name": "self"},
    ]
    assert lines(tmp_path, lookout, *rules) == [
        "alerts: in the last 7 days, the rules would have sent 7 messages",
        "  2026-03-04 13:00 chat, main, firing: acme/app: main is broken",
        "  2026-03-04 13:00 chat, runs, firing: acme/app: a pipeline of main failed",
        "  2026-03-04 14:00 chat, jobs, firing: acme/app: job unit on main failed 2 times in a row",
        "  2026-03-04 15:00 chat, main, resolved: acme/app: main works again",
        "  2026-03-04 15:00 chat, jobs, resolved: acme/app: job unit on main succeeds again",
        "  2026-03-04 16:00 chat, main, firing: acme/app: main is broken",
        "  2026-03-04 16:00 chat, runs, firing: acme/app: a pipeline of main failed",
        "  rule self was not tried: it is about values that are not stored",
    ]


def test_it_looks_at_runs_as_they_went_on(tmp_path: Path, lookout: Lookout) -> None:
    created = lookout.now
    lookout.clock.advance(7200)
    lookout.run(
        "success", created_at=created, started_at=created + timedelta(seconds=1200), queue_seconds=1200.0
    )
    lookout.run("running", ref="a", created_at=created, started_at=created)
    found = lines(
        tmp_path,
        lookout,
        {"kind": "run_stuck", "name": "stuck", "longer_than_seconds": 3600},
        {"kind": "queue_slow", "name": "queue", "longer_than_seconds": 600},
    )
    assert [line.partition(" is stuck for ")[0].partition(" waited ")[0] for line in found[1:]] == [
        "  2026-03-04 12:15 chat, queue, firing: acme/app: a run of main",
        "  2026-03-04 13:15 chat, stuck, firing: acme/app: a run of a",
        "  2026-03-04 13:30 chat, stuck, firing: acme/app: a run of main",
    ]


def test_it_writes_nothing_and_creates_no_store(tmp_path: Path, lookout: Lookout) -> None:
    lookout.run("failed")
    before = [lookout.rows(table) for table in ("alerts", "notices", "sinks", "watches", "outbox")]
    lines(tmp_path, lookout, BRANCH)
    assert [lookout.rows(table) for table in ("alerts", "notices", "sinks", "watches", "outbox")] == before
    empty = tmp_path / "empty"
    empty.mkdir()
    assert lines(empty, lookout, BRANCH) == [
        "alerts: not tried on stored runs: there is no store of this version yet"
    ]
    assert [path.name for path in empty.iterdir()] == ["config.yaml"]


def test_a_template_that_fails_on_stored_records_is_told(tmp_path: Path, lookout: Lookout) -> None:
    lookout.run("failed", username=None)
    lookout.clock.advance(60)
    found = lines(tmp_path, lookout, BRANCH | {"title": "{{ run.username.upper() }}"})
    assert found[-1].startswith("  warning: rule main: 'None' has no attribute 'upper'")


def test_a_template_that_is_wrong_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_templates(
            config(tmp_path, rules=[BRANCH | {"title": "{{ x"}, {**BRANCH, "name": "b", "text": "{{ y }}"}])
        )
    assert all(problem.line for problem in caught.value.problems)


def test_the_command_tells_it_too(tmp_path: Path, lookout: Lookout) -> None:
    lookout.run("failed")
    config(tmp_path, rules=[BRANCH])
    done = run_here("check", "--config", str(tmp_path / "config.yaml"))
    assert done.returncode == 0, done.stderr
    assert "alerts: in the last 7 days, the rules would have sent 0 messages" in done.stderr
    config(tmp_path, rules=[BRANCH | {"title": "{{ nobody }}"}])
    done = run_here("check", "--config", str(tmp_path / "config.yaml"))
    assert done.returncode == 2
    assert (
        "alerts.rules.0.title: the template fails when it tells firing: 'nobody' is undefined" in done.stderr
    )
