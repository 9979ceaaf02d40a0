"""The API of the running service, against the truth that the stand-in knows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import requests
import yaml

from tests.acceptance.conftest import MakeExporter, StartStandIn
from tests.support.process import ExporterProcess, free_port, wait_until


def _read(exporter: ExporterProcess, path: str, **parameters: Any) -> Any:
    response = exporter.session.get(f"{exporter.url}/api/{path}", params=parameters, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()


def _last_executions(executions: list[dict[str, Any]], kind: str, key: str) -> dict[int, dict[str, Any]]:
    """Of each pipeline or job of the group that is watched, how it ended the last time."""
    ours = [one for one in executions if one["kind"] == kind and one["project"].startswith("acme/")]
    return {one[key]: one for one in sorted(ours, key=lambda one: one["execution"])}


def test_its_numbers_are_the_truth(start_standin: StartStandIn, make_exporter: MakeExporter) -> None:
    standin = start_standin(projects=6, history_days=3, history_pipelines=400, seed=7)
    exporter = make_exporter(standin, backfill_days=5).start().wait_ready()
    truth = standin.truth()["executions"]
    runs = _last_executions(truth, "pipeline", "pipeline_id")
    statuses = Counter(run["status"] for run in runs.values())
    finished = {"status": "success,failed,canceled,skipped"}
    wait_until(
        lambda: _read(exporter, "stats/summary", **finished)["total_count"] == len(runs), "all runs are there"
    )

    summary = _read(exporter, "stats/summary", **finished)
    assert {status: summary[f"{status}_count"] for status in statuses} == statuses
    rate = 100 * statuses["success"] / (statuses["success"] + statuses["failed"])
    assert abs(summary["success_rate"] - rate) < 0.001

    shown = _all_pages(exporter, finished)
    assert {run["id"]: (run["project_name"], run["ref"], run["status"], run["source"]) for run in shown} == {
        number: (run["project"], run["ref"], run["status"], run["source"]) for number, run in runs.items()
    }
    by_project = Counter(run["project"] for run in runs.values())
    projects = {one["project_name"]: one["total_count"] for one in _read(exporter, "projects", **finished)}
    assert {name: count for name, count in projects.items() if count} == by_project

    jobs = _last_executions(truth, "job", "job_id")
    told = _read(exporter, "stats/jobs", order="failing", limit=1000, **{"from": "now-90d"})
    failed = Counter(
        (job["project"], job["stage"], job["name"]) for job in jobs.values() if job["status"] == "failed"
    )
    assert {
        (job["project_name"], job["stage"], job["name"]): job["failed_count"]
        for job in told
        if job["failed_count"]
    } == failed
    one = next(run for run in shown if run["status"] == "failed")
    place = f"pipelines/gitlab/{one['project_name'].replace('/', '%2F')}/{one['id']}"
    found = _read(exporter, place)
    assert {job["id"] for job in found["jobs"]} == {
        number for number, job in jobs.items() if job["pipeline_id"] == one["id"]
    }
    assert exporter.terminate() == 0


def _all_pages(exporter: ExporterProcess, parameters: dict[str, str]) -> list[dict[str, Any]]:
    """What a client sees that follows the links."""
    runs: list[dict[str, Any]] = []
    url: str | None = f"{exporter.url}/api/pipelines?limit=70&status={parameters['status']}"
    while url:
        response = exporter.session.get(url, timeout=30)
        assert response.status_code == 200, response.text
        runs += response.json()
        following = response.links.get("next")
        url = requests.compat.urljoin(url, following["url"]) if following else None
    return runs


def test_it_is_linked_from_the_landing_page_and_can_be_switched_off_or_moved(
    start_standin: StartStandIn, make_exporter: MakeExporter
) -> None:
    standin = start_standin(projects=2, history_days=1, history_pipelines=10)
    exporter = make_exporter(standin).start().wait_ready()
    assert 'href="/api/openapi.json"' in exporter.session.get(exporter.url).text
    assert exporter.session.get(f"{exporter.url}/api/openapi.json").json()["openapi"] == "3.1.0"
    assert exporter.terminate() == 0

    _configure(exporter, api=False)
    exporter.start().wait_ready()
    assert "/api/openapi.json" not in exporter.session.get(exporter.url).text
    assert exporter.session.get(f"{exporter.url}/api/projects").status_code == 404
    assert exporter.terminate() == 0

    port = free_port()
    _configure(exporter, api=True, api_addr=f"127.0.0.1:{port}")
    exporter.start().wait_ready()
    assert exporter.session.get(f"http://127.0.0.1:{port}/api/projects").status_code == 200
    assert exporter.session.get(f"http://127.0.0.1:{port}/metrics").status_code == 404
    assert exporter.session.get(f"{exporter.url}/api/projects").status_code == 404
    assert exporter.terminate() == 0


def _configure(exporter: ExporterProcess, **metrics: Any) -> None:
    config = yaml.safe_load(exporter.config_path.read_text())
    config["metrics"].update(metrics)
    exporter.write_config(config)
