"""The examples that report from GitHub Actions and Jenkins call the program as it wants to be called."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from collectors.reports.report import Report
from exporter.cli.parser import build_parser
from exporter.cli.report import report_of

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy/examples"
ACTION = yaml.safe_load((EXAMPLES / "report-action/action.yml").read_text())
(STEP,) = ACTION["runs"]["steps"]
JENKINSFILE = (EXAMPLES / "Jenkinsfile").read_text()
TOKEN = "example-token-3Jq8"
STUB = """#!/usr/bin/env python3
import json, os, sys
json.dump([sys.argv[1:], sys.stdin.read()], open(os.environ["CALLED"], "w"))
"""
GITHUB = {
    "GITHUB_REPOSITORY": "acme/p",
    "GITHUB_WORKFLOW": "Build & test",
    "GITHUB_RUN_ID": "17",
    "GITHUB_REF_TYPE": "branch",
    "GITHUB_REF_NAME": "main",
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_SHA": "0ff3ae198f8601a285adcf5c0fff204ee6fba5fd",
    "GITHUB_ACTOR": "ada",
    "GITHUB_SERVER_URL": "https://github.test",
}
JENKINS = {
    "CI_EXPORTER_TOKEN": TOKEN,
    "CI_EXPORTER_URL": "https://ci-exporter.test",
    "STATUS": "SUCCESS",
    "STARTED_MS": "1772438430123",
    "DURATION_MS": "90500",
    "JOB_NAME": "team/app/main",
    "BRANCH_NAME": "main",
    "BUILD_NUMBER": "17",
    "BUILD_URL": "https://jenkins.test/job/17/",
    "GIT_COMMIT": "0ff3ae198f8601a285adcf5c0fff204ee6fba5fd",
}
Run = Callable[[str, Mapping[str, str]], dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a script with a stub for the program; returns the report that its call would send."""
    stub = tmp_path / "ci-exporter"
    stub.write_text(STUB)
    stub.chmod(0o755)

    def call(script: str, env: Mapping[str, str]) -> dict[str, Any]:
        called, output = tmp_path / "called", tmp_path / "output"
        output.touch()
        known = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "CALLED": str(called),
            "GITHUB_OUTPUT": str(output),
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        done = subprocess.run(command, env={**known, **env}, capture_output=True, text=True, check=True)
        assert TOKEN not in done.stdout + done.stderr
        arguments, given = json.loads(called.read_text())
        assert given == f"{TOKEN}\n"
        assert TOKEN not in " ".join(arguments)
        options = build_parser().parse_args(arguments)
        assert options.best_effort
        return report_of(options, datetime.now(UTC))

    return call


def action_env(**inputs: str) -> dict[str, str]:
    """What the step has, from the inputs and defaults of the action."""
    known = {name: str(given.get("default", "")) for name, given in ACTION["inputs"].items()}
    known |= {"server": "https://ci-exporter.test", "token": TOKEN} | {
        name.replace("_", "-"): value for name, value in inputs.items()
    }
    env = {}
    for name, expression in STEP["env"].items():
        found = re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", expression)
        env[name] = known[found[1]] if found else ""
    return GITHUB | env


def jenkins_script() -> str:
    """The shell script of the pipeline, as Groovy unescapes it."""
    (script,) = re.findall(r"script: '''(.*?)'''", JENKINSFILE, re.DOTALL)
    assert not re.search(r"(?<!\\)\\[^\\]", script.replace("\\\\", "")), "Groovy would eat the backslash"
    return str(script).replace("\\\\", "\\")


@pytest.mark.parametrize(
    ("told", "status"),
    [("running", "running"), ("success", "success"), ("failure", "failed"), ("cancelled", "canceled")],
)
def test_the_action_reports_its_run(run: Run, told: str, status: str) -> None:
    report = run(STEP["run"], action_env(status=told, started_at="1772438430"))
    assert report == {
        "project": "acme/p",
        "pipeline": "Build & test",
        "run_id": 17,
        "status": status,
        "started_at": "2026-03-02T08:00:30+00:00",
        "source": "pull_request",
        "ref": "main",
        "ref_kind": "branch",
        "sha": GITHUB["GITHUB_SHA"],
        "username": "ada",
        "web_url": "https://github.test/acme/p/actions/runs/17",
    }
    assert Report.model_validate(report)


def test_the_first_report_of_the_action_tells_the_start_to_the_last(run: Run, tmp_path: Path) -> None:
    first = run(STEP["run"], action_env(status="running"))
    name, _, start = (tmp_path / "output").read_text().strip().partition("=")
    assert name in ACTION["outputs"]
    assert ACTION["outputs"][name]["value"] == "${{ steps.report.outputs.started-at }}"
    assert (
        run(STEP["run"], action_env(status="success", started_at=start))["started_at"] == first["started_at"]
    )


def test_a_branch_that_is_named_like_a_command_is_a_name(run: Run, tmp_path: Path) -> None:
    name = f"$(touch {tmp_path}/harm)`touch {tmp_path}/harm`;\"'"
    report = run(STEP["run"], action_env(status="success") | {"HEAD_REF": name})
    assert (report["ref"], report["ref_kind"]) == (name, "change_request")
    assert not (tmp_path / "harm").exists()
    assert "${{" not in STEP["run"]


def test_the_action_never_fails_a_run() -> None:
    assert STEP["continue-on-error"] is True
    assert ACTION["runs"]["using"] == "composite"
    assert all(given.get("required") or "default" in given for given in ACTION["inputs"].values())


@pytest.mark.parametrize(
    ("told", "status"),
    [("SUCCESS", "success"), ("FAILURE", "failed"), ("UNSTABLE", "failed"), ("ABORTED", "canceled")],
)
def test_the_pipeline_reports_its_build(run: Run, told: str, status: str) -> None:
    report = run(jenkins_script(), JENKINS | {"STATUS": told})
    assert report == {
        "project": "team/app",
        "key": "team/app/main 17",
        "created_at": "2026-03-02T08:00:30+00:00",
        "status": status,
        "duration_seconds": 90.0,
        "ref": "main",
        "ref_kind": "branch",
        "sha": JENKINS["GIT_COMMIT"],
        "web_url": JENKINS["BUILD_URL"],
    }
    assert Report.model_validate(report)


def test_the_pipeline_reports_its_start_as_the_same_run(run: Run) -> None:
    first = run(jenkins_script(), JENKINS | {"STATUS": "RUNNING", "DURATION_MS": "12"})
    last = run(jenkins_script(), JENKINS)
    assert (first["status"], "duration_seconds" in first) == ("running", False)
    assert {first[key] == last[key] for key in ("project", "key", "created_at")} == {True}


def test_a_plain_job_is_a_project_of_its_own(run: Run) -> None:
    report = run(jenkins_script(), {key: value for key, value in JENKINS.items() if key != "BRANCH_NAME"})
    assert report["project"] == "team/app/main"
    assert "ref" not in report


def test_tags_and_changes_are_told_as_such(run: Run) -> None:
    tag = run(jenkins_script(), JENKINS | {"TAG_NAME": "v1"})
    assert (tag["ref"], tag["ref_kind"]) == ("v1", "tag")
    change = run(jenkins_script(), JENKINS | {"CHANGE_ID": "7", "CHANGE_BRANCH": "feature"})
    assert (change["ref"], change["ref_kind"]) == ("feature", "change_request")


def test_the_build_goes_on_when_reporting_fails_and_the_pipeline_balances() -> None:
    assert "returnStatus: true" in JENKINSFILE
    plain = re.sub(r"'''.*?'''|'[^']*'|\"[^\"]*\"|//.*", "", JENKINSFILE, flags=re.DOTALL | re.MULTILINE)
    for opening, closing in ("{}", "()", "[]"):
        assert plain.count(opening) == plain.count(closing)
