"""The demo: one command, and live metrics."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import requests
import yaml

from tests.support.demo import started_demo
from tests.support.process import PATIENCE, SOON, wait_until
from tests.support.truth import counted_runs


# The one below that is interrupted tells which code it ran.
def test_the_demo_shows_live_metrics_and_ends_cleanly(tmp_path: Path) -> None:
    with started_demo(tmp_path) as (demo, url):
        wait_until(lambda: _status(f"{url}/-/ready") == 200, "the demo is ready", 3 * PATIENCE)
        text = _metrics(url)
        before, reports = counted_runs(text).total(), _reports(text)
        assert before > 100
        wait_until(lambda: _providers(url) >= PROVIDERS, "every CI system shows runs", 3 * PATIENCE)
        page = requests.get(f"{url}/status", timeout=PATIENCE).text
        assert all(f'value="{provider}"' in page for provider in PROVIDERS)
        projects = {line.split('project="')[1].split('"')[0] for line in reports}
        assert len(projects) == 10
        assert {line.split("{")[0] for line in reports} == REPORTS
        wait_until(lambda: counted_runs(_metrics(url)).total() > before, "a run finishes", 3 * PATIENCE)
        wait_until(lambda: _reports(_metrics(url)) != reports, "pull requests move", 3 * PATIENCE)
        assert "ci_exporter_query_success{" in text
        assert not [line for line in text.splitlines() if "query_success{" in line and line.endswith(" 0.0")]
        project = _break_a_branch(tmp_path)
        told = f'message to people channel=log kind=firing title="{project}: main is broken"'
        wait_until(
            lambda: told in (tmp_path / "log").read_text(), "the log tells of a broken branch", 3 * PATIENCE
        )
        broken = 'ci_exporter_alerts_active{rule="default-branch-broken",severity="critical"} '
        wait_until(lambda: _sample(url, broken) > 0, "its alert stands", 3 * PATIENCE)
        family = _descendants(demo.pid)
        assert _names(family) >= {"postgres"}, "the stand-ins are processes of their own"
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(SOON) == 0
        _wait_gone(family)
    assert f"{url}/metrics" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_end_of_the_demo_leaves_a_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    with started_demo(tmp_path) as (demo, url):
        wait_until(lambda: "oneclick_pr_open{" in _metrics(url), "its reports are there")
        family = _descendants(demo.pid)
        assert "postgres" in _names(family)
        demo.send_signal(number)
        demo.wait(SOON)
        _wait_gone(family)


# Those that always have a series, and change when a pull request does rather than with the time.
REPORTS = {
    f"oneclick_pr_{name}" for name in ("open", "closed", "result_report", "check_summary", "missing_report")
}


PROVIDERS = {"gitea", "github", "gitlab", "jenkins"}


def _providers(url: str) -> set[str]:
    """The CI systems of which a finished run is counted."""
    return {
        line.split('provider="')[1].split('"')[0]
        for line in _metrics(url).splitlines()
        if line.startswith("ci_pipeline_runs_total{") and not line.endswith(" 0.0")
    }


def _metrics(url: str) -> str:
    try:
        return requests.get(f"{url}/metrics", timeout=PATIENCE).text
    except requests.RequestException:
        return ""


def _reports(text: str) -> list[str]:
    """The lines of all reports on pull requests that are no durations."""
    return [line for line in text.splitlines() if line.split("{")[0] in REPORTS]


def _status(url: str) -> int:
    try:
        return requests.get(url, timeout=PATIENCE).status_code
    except requests.RequestException:
        return 0


def _sample(url: str, name: str) -> float:
    """The value of the series that is written as *name*; 0 if there is none."""
    lines = [line for line in _metrics(url).splitlines() if line.startswith(name)]
    return float(lines[0].removeprefix(name)) if lines else 0.0


def _break_a_branch(folder: Path) -> str:
    """Let a pipeline of a default branch fail in the stand-in GitLab; returns its project."""
    gitlab = yaml.safe_load((folder / "demo" / "config.yaml").read_text())["collectors"]["gitlab"]
    listed = requests.get(
        f"{gitlab['url']}/api/v4/projects?per_page=100",
        headers={"PRIVATE-TOKEN": gitlab["token"]},
        timeout=PATIENCE,
    ).json()
    usable = [one for one in listed if one["default_branch"] == "main" and not one["archived"]]
    project: str = next(one for one in usable if one["jobs_enabled"])["path_with_namespace"]
    job = {"name": "unit", "queue": 0.1, "run": 0.2, "outcome": "failed", "reason": "script_failure"}
    response = requests.post(
        f"{gitlab['url']}/__standin__/action",
        json={"action": "new_pipeline", "project": project, "ref": "main", "jobs": [job]},
        timeout=PATIENCE,
    )
    assert response.status_code == 200, response.text
    return project


def _descendants(pid: int) -> list[int]:
    """The processes that *pid* started, and those that they started."""
    found: list[int] = []
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:  # it has ended meanwhile
        return found
    for child in children.split():
        found += [int(child), *_descendants(int(child))]
    return found


def _names(family: list[int]) -> set[str]:
    return {Path(f"/proc/{pid}/comm").read_text().strip() for pid in family if _lives(pid)}


def _wait_gone(family: list[int]) -> None:
    wait_until(lambda: not any(_lives(pid) for pid in family), "every process of the stand-ins ends")


def _lives(pid: int) -> bool:
    """Whether *pid* runs; one that has ended may wait for somebody to take note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
