"""What the real service is told, by webhooks and by jobs, is in its metrics without a poll."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from collectors.gitlab.standin.client import StandIn
from tests.acceptance.conftest import StartStandIn, exporter_config
from tests.support.process import ExporterProcess, run_cli, wait_until
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs

SECRET = "told-secret-9Vb3"


@pytest.fixture
def told(start_standin: StartStandIn, stack: ExitStack, tmp_path: Path) -> tuple[StandIn, ExporterProcess]:
    """A service that polls once an hour, and is told everything else; its stand-in GitLab."""
    standin = start_standin(projects=0)
    standin.action("create_project", path="acme/p")
    slow = {"poll_interval_seconds": 3600, "poll_interval_max_seconds": 3600, "hooks": {"secret": SECRET}}
    config: dict[str, Any] = exporter_config(standin, f"sqlite:///{tmp_path / 'runs.db'}", slow)
    config["hooks"] = {"enabled": True}
    config["collectors"]["reports"] = {"hooks": {"secret": SECRET}}
    return standin, stack.enter_context(ExporterProcess(tmp_path, config)).start().wait_ready()


def test_what_gitlab_sends_is_shown_without_a_call(told: tuple[StandIn, ExporterProcess]) -> None:
    standin, exporter = told
    standin.action("hooks", url=f"{exporter.url}/hooks/gitlab", secret=SECRET, events=["pipeline", "job"])
    standin.requests(reset=True)
    for _ in range(3):
        standin.action(
            "new_pipeline", project="acme/p", jobs=[{"name": "unit"}, {"name": "go", "outcome": "failed"}]
        )
    standin.advance(120)
    truth = standin.truth()
    wait_until(
        lambda: not difference(expected_runs(truth), counted_runs(exporter.scrape())), "all pipelines counted"
    )
    wait_until(
        lambda: not difference(expected_jobs(truth), counted_jobs(exporter.scrape())), "all jobs counted"
    )
    assert standin.requests()["by_endpoint"] == {}
    assert set(standin.hooks()["answers"]) == {"202"}


def test_what_nobody_proves_is_refused(told: tuple[StandIn, ExporterProcess]) -> None:
    _, exporter = told
    for name in ("gitlab", "generic"):
        assert requests.post(f"{exporter.url}/hooks/{name}", data=b"{}", timeout=60).status_code == 401
    assert requests.post(f"{exporter.url}/hooks/nobody", data=b"{}", timeout=60).status_code == 404


def test_what_a_job_reports_is_shown(told: tuple[StandIn, ExporterProcess], tmp_path: Path) -> None:
    _, exporter = told
    token = tmp_path / "token"
    token.write_text(SECRET)
    flags = ["--server", exporter.url, "--token-file", str(token), "--project", "team/app", "--run-id", "7"]
    for status in ("running", "failed", "failed"):
        done = run_cli("report", *flags, "--status", status, "--job", f"unit={status}:30", "--ref", "main")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def counted() -> bool:
        shown = counted_runs(exporter.scrape())
        return shown["team/app", "branch", "unknown", "failed"] == 1

    wait_until(counted, "the reported run")
    assert counted_jobs(exporter.scrape())["team/app", "", "unit", "failed", "unknown"] == 1
    assert SECRET not in exporter.log_path.read_text()
    token.write_text("another")
    refused = run_cli("report", *flags, "--status", "success")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the server does not accept the token" in refused.stderr
