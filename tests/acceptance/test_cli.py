"""Every command as a user runs it: output, exit code, and what it leaves behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
import yaml

from collectors.gitlab.standin.client import StandIn
from tests.acceptance.conftest import MakeExporter, StartStandIn, exporter_config
from tests.support.process import PATIENCE, ROOT, free_port, run_cli, run_here, wait_until
from tests.support.receivers import Answer, Services
from tests.support.tools import require
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs


@pytest.fixture
def standin(start_standin: StartStandIn) -> StandIn:
    """A small world with some history."""
    return start_standin(projects=6, history_days=3, history_pipelines=120, seed=4)


@pytest.fixture
def config(standin: StandIn, tmp_path: Path) -> Path:
    """A configuration that reads all of it."""
    path = tmp_path / "config.yaml"
    content = exporter_config(standin, f"sqlite:///{tmp_path / 'pipelines.db'}", {"backfill_days": 4})
    path.write_text(yaml.safe_dump(content))
    return path


def test_check_prints_what_it_understood_without_secrets(config: Path, standin: StandIn) -> None:
    done = run_cli("check", "--config", str(config))
    assert done.returncode == 0, done.stderr
    assert "configuration ok" in done.stderr
    shown = yaml.safe_load(done.stdout)
    assert shown["collectors"]["gitlab"]["token"] == "<secret>"
    assert standin.token not in done.stdout + done.stderr


def test_check_tells_every_problem_at_once(config: Path) -> None:
    text = config.read_text().replace("operations_per_second", "operations") + "\nlogs: {}\n"
    config.write_text(text.replace("poll_interval_seconds: 0.2", "poll_interval_seconds: soon"))
    done = run_cli("check", "--config", str(config))
    assert done.returncode == 2
    problems = done.stderr.strip().splitlines()
    assert len(problems) == 3, done.stderr
    assert all(f"{config}:" in problem for problem in problems)
    assert "Traceback" not in done.stderr


def test_check_online_counts_series_and_names_what_is_missing(config: Path) -> None:
    content = yaml.safe_load(config.read_text())
    content["collectors"]["gitlab"]["projects"] = ["acme/not-there"]
    config.write_text(yaml.safe_dump(content))
    done = run_here("check", "--online", "--config", str(config))
    assert done.returncode == 1, done.stderr
    assert re.search(r"^gitlab: [1-9][0-9]* series from 6 projects$", done.stdout, re.MULTILINE)
    assert re.search(r"^  failed: acme/not-there: not_found: .*; correct the name", done.stdout, re.MULTILINE)
    assert not list(config.parent.glob("pipelines.db-wal")), "the store was closed"


@pytest.mark.parametrize(
    ("gitlab", "says"),
    [
        (
            {"groups": [{"path": "nowhere"}]},
            "nowhere: not_found: .*; correct the name, or let the token see it",
        ),
        ({"groups": [{"path": "acme", "exclude": ["*"]}]}, "it finds no projects: name some"),
        ({"token": "another"}, "127.0.0.1 refused the token .*; put one that is accepted into collectors"),
        ({"url": "http://127.0.0.1:1"}, "127.0.0.1: .*no connection; check the address in collectors.gitlab"),
    ],
)
def test_check_online_fails_if_something_cannot_be_read_and_says_what_to_do(
    config: Path, gitlab: dict[str, object], says: str
) -> None:
    content = yaml.safe_load(config.read_text())
    content["collectors"]["gitlab"] |= gitlab
    config.write_text(yaml.safe_dump(content))
    done = run_here("check", "--online", "--config", str(config))
    assert done.returncode == 1, done.stderr
    assert re.search(rf"^  failed: {says}", done.stdout, re.MULTILINE), done.stdout


def test_check_online_fails_if_the_token_lacks_a_scope(tmp_path: Path) -> None:
    with Services(tmp_path) as forge:
        forge.answer = lambda _request: Answer(403, b'{"error":"insufficient_scope"}')
        gitlab = {"url": f"http://{forge.address}", "token": "t0ken-of-nothing", "groups": [{"path": "acme"}]}
        runners = {"url": gitlab["url"], "token": gitlab["token"], "groups": ["acme"]}
        content = {
            "store": {"url": f"sqlite:///{tmp_path}/s.db"},
            "collectors": {"gitlab": gitlab, "gitlab_runners": runners},
        }
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(content))
        done = run_here("check", "--online", "--config", str(file))
    assert done.returncode == 1
    assert done.stdout.count("  failed: ") == 2, done.stdout  # each trouble once
    assert (
        "  failed: acme: forbidden: GitLab says 403: this token may not read it; let the token" in done.stdout
    )


def test_once_prints_the_truth_and_again_the_same(config: Path, standin: StandIn) -> None:
    first = run_cli("once", "--config", str(config))
    assert first.returncode == 0, first.stderr
    truth = standin.truth()
    assert not difference(expected_runs(truth), counted_runs(first.stdout))
    assert not difference(expected_jobs(truth), counted_jobs(first.stdout))
    second = run_cli("once", "--config", str(config))
    assert counted_runs(second.stdout) == counted_runs(first.stdout)


def test_once_shows_the_capacity_it_has_and_keeps_its_numbers_to_itself(config: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(config.read_text())
    content["engine"] = {"capacity": 3}
    content["collectors"]["runner"] = {}
    config.write_text(yaml.safe_dump(content))
    env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "another-program")}
    done = run_cli("once", "--config", str(config), env=env)
    assert done.returncode == 0, done.stderr
    assert "ci_exporter_capacity 3.0" in done.stdout.splitlines()


def test_once_speaks_openmetrics_and_json(config: Path) -> None:
    openmetrics = run_cli("once", "--config", str(config), "--format", "openmetrics")
    assert openmetrics.stdout.endswith("# EOF\n")
    families = json.loads(run_cli("once", "--config", str(config), "--format", "json").stdout)
    assert families["ci_pipeline_runs"]["type"] == "counter"
    assert families["ci_pipeline_runs"]["samples"]


def test_once_writes_a_textfile_that_promtool_accepts(config: Path, tmp_path: Path) -> None:
    promtool = require("promtool", "prometheus")
    textfile = tmp_path / "ci.prom"
    assert run_cli("once", "--config", str(config), "--textfile", str(textfile)).returncode == 0
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=textfile.read_bytes(), capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr.decode()
    assert not list(tmp_path.glob(".ci.prom*")), "no temporary file is left"
    assert run_cli("once", "--config", str(config), "--textfile", "/nowhere/ci.prom").returncode == 1


def test_once_pushes_to_a_real_pushgateway(config: Path, stack: ExitStack) -> None:
    program = require("prometheus-pushgateway", "prometheus-pushgateway")
    address = f"127.0.0.1:{free_port()}"
    gateway = subprocess.Popen(
        [program, f"--web.listen-address={address}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(gateway.wait)
    stack.callback(gateway.kill)

    def alive() -> bool:
        try:
            return requests.get(f"http://{address}/-/ready", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    wait_until(alive, "the Pushgateway answers")
    done = run_cli("once", "--config", str(config), "--push", f"http://{address}")
    assert done.returncode == 0, done.stderr
    pushed = requests.get(f"http://{address}/metrics", timeout=PATIENCE).text
    assert "ci_pipeline_runs_total{" in pushed
    assert 'ci_job_runs_total{exported_job="compile"' in pushed
    dead = run_cli("once", "--config", str(config), "--push", f"http://127.0.0.1:{free_port()}")
    assert dead.returncode == 1
    assert "Pushgateway" in dead.stderr


def test_a_later_backfill_feeds_history_and_leaves_live_counters_alone(
    start_standin: StartStandIn, make_exporter: MakeExporter
) -> None:
    standin = start_standin(projects=6, history_days=6, history_pipelines=100, latency_ms=5, seed=8)
    exporter = make_exporter(standin, backfill_days=2).start().wait_ready()
    before = counted_runs(exporter.scrape())
    command = ["backfill", "--config", str(exporter.config_path), "--days", "7"]
    # Killed in the middle, and run again beside the running service.
    calls = standin.requests()["total"]
    first = subprocess.Popen(
        [sys.executable, "-m", "exporter", *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: standin.requests()["total"] > calls + 80, "the backfill reads")
    first.kill()
    first.wait()
    done = run_cli(*command)
    assert done.returncode == 0, done.stderr
    assert "0 projects failed" in done.stdout
    assert counted_runs(exporter.scrape()) == before
    exporter.terminate()
    exporter.start().wait_ready()
    assert counted_runs(exporter.scrape()) == before
    again = run_cli(*command)
    assert "0 rows new or changed" in again.stdout, "everything is there already"


def test_usage_errors_have_exit_code_2_and_no_traceback() -> None:
    for arguments in (["serve", "--config", "/nowhere.yaml"], ["backfill", "--days", "0"], ["nonsense"], []):
        done = run_cli(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr
    assert "no collector is configured" in run_cli("serve").stderr


def test_the_catalogue_and_the_version_are_printed() -> None:
    assert "gitlab" in run_cli("collectors").stdout
    catalogue = json.loads(run_cli("metrics", "--format", "json").stdout)
    assert {"ci_pipeline_runs_total", "ci_exporter_build_info"} <= {entry["name"] for entry in catalogue}
    assert run_cli("metrics", "--format", "markdown").stdout.startswith("| family |")
    assert run_cli("version").stdout.startswith("ci-exporter ")
