"""Runner-style metrics of real programs: the smoke test of act_runner's endpoint, and our example program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from collectors.gitlab.standin.client import StandIn
from tests.support.harness import gitlab
from tests.support.process import PATIENCE, ROOT, ExporterProcess, free_port, wait_until

STATIC = (
    "act_runner_info",
    "act_runner_capacity",
    "act_runner_uptime_seconds",
    "act_runner_job_running",
    "act_runner_job_capacity_utilization_ratio",
)


class Program:
    """The series under the namespace act_runner that a program shows."""

    def __init__(self, url: str) -> None:
        self.url = url

    def series(self) -> dict[str, float]:
        """``name{labels} -> value`` of all series of the namespace; empty while nobody answers."""
        try:
            text = requests.get(f"{self.url}/metrics", timeout=PATIENCE).text
        except requests.RequestException:
            return {}
        lines = [line for line in text.splitlines() if line.startswith("act_runner_")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of *name* that have *labels*."""
        wanted = [f'{label}="{text}"' for label, text in labels.items()]
        return sum(
            value
            for series, value in self.series().items()
            if series.partition("{")[0] == f"act_runner_{name}" and all(one in series for one in wanted)
        )


# -- the exporter --------------------------------------------------------------------------------


@pytest.fixture
def source() -> Iterator[StandIn]:
    with gitlab(start=None, speed=1) as server:
        server.action("create_project", path="acme/p")
        server.action("new_pipeline", project="acme/p", jobs=[{"name": "unit"}])
        yield server


def config(folder: Path, source: StandIn) -> dict[str, Any]:
    return {
        "store": {"url": f"sqlite:///{folder}/pipelines.db"},
        "engine": {"capacity": 3},
        "log": {"format": "text"},
        "collectors": {
            "runner": {"namespace": "act_runner", "name": "here"},
            "gitlab": {
                "url": source.url,
                "token": source.token,
                "all_projects": "visible",
                "poll_interval_seconds": 0.2,
                "poll_interval_max_seconds": 1.6,
                "operations_per_second": 500,
            },
        },
    }


def test_the_smoke_test_of_act_runner_passes(tmp_path: Path, source: StandIn) -> None:
    settings = config(tmp_path, source)
    with ExporterProcess(tmp_path, {**settings, "metrics": {"enabled": False}}) as off:
        off.start()
        wait_until(lambda: "nowhere (metrics.enabled is false)" in off.log_path.read_text(), "the start")
        assert not off.answers("/healthz"), "opt-in: nothing listens until it is enabled"
        off.terminate()

    with ExporterProcess(tmp_path, settings) as service:
        program = Program(service.url)
        service.start()
        wait_until(lambda: bool(program.series()), "an answer")
        first = {series.partition("{")[0] for series in program.series()}
        assert set(STATIC) <= first, "static series at once"
        assert program.value("capacity") == 3
        assert requests.get(f"{service.url}/healthz", timeout=PATIENCE).text == "ok\n"

        service.wait_ready()
        polled = program.value("poll_fetch_total", collector="gitlab", result="task")
        saved = program.value("report_state_total", result="success")
        ran = program.value("job_total", collector="gitlab", status="success")
        assert saved > 0
        assert ran > 0
        source.action("new_pipeline", project="acme/p", jobs=[{"name": "unit"}])
        wait_until(
            lambda: program.value("poll_fetch_total", collector="gitlab", result="task") > polled,
            "news to be counted",
        )
        wait_until(
            lambda: program.value("job_total", collector="gitlab", status="success") > ran, "the poll to end"
        )
        assert program.value("job_total", status="failure") == 0
        assert program.value("client_errors_total") == 0

        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(timeout=PATIENCE) == 0, "Ctrl-C is a clean end"
        assert "stopped" in service.log_path.read_text()
        assert "Traceback" not in service.log_path.read_text()
        service.start()
        wait_until(lambda: service.answers("/healthz"), "the same port, at once")


def test_the_backoff_settles_and_returns_to_the_base_with_news(tmp_path: Path, source: StandIn) -> None:
    source.advance(600)
    with ExporterProcess(tmp_path, config(tmp_path, source)) as service:
        program = Program(service.url)
        service.start().wait_ready()
        wait_until(
            lambda: program.value("poll_backoff_seconds") == 1.6, "an idle project to be polled rarely"
        )
        source.action("new_pipeline", project="acme/p", jobs=[{"name": "unit"}])
        wait_until(lambda: program.value("poll_backoff_seconds") == 0.2, "the base interval")


def test_failures_show_by_operation_and_the_backoff_grows(tmp_path: Path, source: StandIn) -> None:
    with ExporterProcess(tmp_path, config(tmp_path, source)) as service:
        program = Program(service.url)
        service.start().wait_ready()
        source.faults({"kind": "status", "status": 500, "path": ".*"})
        wait_until(lambda: program.value("poll_fetch_total", result="error") > 1, "failed polls")
        wait_until(lambda: program.value("poll_backoff_seconds") > 0.2, "a longer wait")
        assert program.value("client_errors_total", method="pipelines") > 0
        wait_until(lambda: program.value("job_total", status="failure") > 0, "a failed poll that is over")
        source.faults()
        source.action("new_pipeline", project="acme/p", jobs=[{"name": "unit"}])
        wait_until(lambda: program.value("poll_backoff_seconds") == 0.2, "the base interval")


# -- the example ---------------------------------------------------------------------------------


def git(*arguments: str, folder: Path) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *who, "-C", str(folder), *arguments], capture_output=True, check=True, text=True, env=env
    )
    return done.stdout


class Repository:
    """A Git repository that others clone, and a working copy of it."""

    def __init__(self, folder: Path) -> None:
        self.bare = folder / "project.git"
        self._copy = folder / "copy"
        self._copy.mkdir()
        git("init", "--bare", str(self.bare), folder=folder)
        git("init", folder=self._copy)
        git("remote", "add", "origin", str(self.bare), folder=self._copy)

    def commit(self, script: str) -> str:
        """Push a commit whose check does *script*; returns its id."""
        (self._copy / "check.sh").write_text(script)
        git("add", ".", folder=self._copy)
        git("commit", "-q", "-m", "a change", folder=self._copy)
        git("push", "-q", "origin", "HEAD:main", folder=self._copy)
        return git("rev-parse", "HEAD", folder=self._copy).strip()

    def results(self) -> set[str]:
        """``RESULT/COMMIT`` of all that the runner reported."""
        found = git("for-each-ref", "--format=%(refname)", "refs/ci", folder=self.bare).split()
        return {name.removeprefix("refs/ci/") for name in found}


def test_the_example_runs_a_command_for_each_commit_and_shows_what_it_did(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    good = repository.commit("echo all is well")
    port = free_port()
    program = Program(f"http://127.0.0.1:{port}")
    example = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "deploy/examples/tiny_runner.py"),
            str(repository.bare),
            "main",
            f"127.0.0.1:{port}",
            "sh",
            "check.sh",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        wait_until(lambda: program.value("job_total", status="success") == 1, "the first commit")
        bad = repository.commit("echo oh no; exit 3")
        wait_until(lambda: program.value("job_total", status="failure") == 1, "the second commit")
        wait_until(lambda: program.value("poll_fetch_total", result="empty") > 0, "a poll without news")
        repository.bare.rename(tmp_path / "away.git")
        wait_until(lambda: program.value("client_errors_total", method="ls-remote") > 0, "a failing poll")
        (tmp_path / "away.git").rename(repository.bare)
        assert repository.results() == {f"success/{good}", f"failure/{bad}"}
        assert (tmp_path / "runner.log").read_text() == "all is well\noh no\n"
        assert program.value("poll_fetch_total", result="task") == 2
        assert program.value("report_log_total", result="success") == 2
        assert program.value("report_state_total", result="success") == 2
        assert program.value("poll_backoff_seconds") >= 2
        assert requests.get(f"{program.url}/healthz", timeout=PATIENCE).text == "ok\n"
        example.send_signal(signal.SIGINT)
        assert example.wait(timeout=PATIENCE) == 0
    finally:
        if example.poll() is None:
            example.kill()
            example.wait()
