"""People are told when a default branch breaks: once on each channel, whatever happens to the process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from collectors.gitlab.standin.client import StandIn
from tests.acceptance.conftest import MakeExporter, StartStandIn
from tests.support.process import ExporterProcess, wait_until
from tests.support.receivers import Services

PROJECT = "acme/p"
BROKEN, MENDED = f"{PROJECT}: main is broken", f"{PROJECT}: main works again"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Services]:
    """Where messages go, over plain HTTP."""
    with Services(tmp_path) as services:
        yield services


def titles(receiver: Services, path: str) -> list[str]:
    """The messages that came over one channel."""
    return [request.json["title"] for request in list(receiver.requests) if request.path == path]


def watch(exporter: ExporterProcess, receiver: Services, **alerts: Any) -> ExporterProcess:
    """Let the exporter tell *receiver*, over two channels."""
    channels = {name: {"url": f"json://{receiver.address}/{name}"} for name in ("chat", "mail")}
    config = yaml.safe_load(exporter.config_path.read_text())
    told = {"channels": channels, "group_wait_seconds": 0.5, "evaluation_interval_seconds": 0.2, **alerts}
    exporter.write_config(config | {"alerts": told})
    return exporter


def build(standin: StandIn, exporter: ExporterProcess, outcome: str, project: str = PROJECT) -> None:
    """A new pipeline of the default branch ends, and the exporter knows."""
    jobs = [{"name": "unit", "outcome": outcome, "run": 1}]
    number = standin.action("new_pipeline", project=project, jobs=jobs)["pipeline_id"]
    standin.advance(60)

    def known() -> bool:
        lines = [line for line in exporter.scrape().splitlines() if f'project="{project}"' in line]
        ended = any(
            line.startswith("ci_pipeline_status{") and f'status="{outcome}"' in line for line in lines
        )
        newest = (line for line in lines if line.startswith("ci_pipeline_last_run_id{"))
        return ended and any(float(line.rsplit(" ", 1)[1]) == number for line in newest)

    wait_until(known, f"the run that ended with {outcome}")


def test_a_broken_branch_is_told_once_on_each_channel_and_its_recovery_once(
    start_standin: StartStandIn, make_exporter: MakeExporter, receiver: Services
) -> None:
    standin = start_standin(projects=0, speed=1)
    standin.action("create_project", path=PROJECT)
    exporter = watch(make_exporter(standin), receiver).start().wait_ready()
    build(standin, exporter, "success")
    build(standin, exporter, "failed")
    for channel in ("/chat", "/mail"):
        wait_until(lambda channel=channel: titles(receiver, channel) == [BROKEN], "the message")
    wait_until(
        lambda: (
            'ci_exporter_alerts_active{rule="default-branch-broken",severity="warning"} 1.0'
            in exporter.scrape()
        ),
        "the alert in the metrics",
    )
    body = next(request.json["message"] for request in receiver.requests)
    assert "- test / unit: script_failure" in body
    assert "Last good run: " in body
    for _ in range(10):
        build(standin, exporter, "failed")
    assert titles(receiver, "/chat") == titles(receiver, "/mail") == [BROKEN]
    build(standin, exporter, "success")
    for channel in ("/chat", "/mail"):
        wait_until(lambda channel=channel: titles(receiver, channel) == [BROKEN, MENDED], "the recovery")
    assert exporter.terminate() == 0
    assert standin.token not in exporter.log_path.read_text()


def test_neither_a_kill_nor_history_repeats_or_forgets_a_message(
    start_standin: StartStandIn, make_exporter: MakeExporter, receiver: Services, tmp_path: Path
) -> None:
    standin = start_standin(projects=3, history_days=2, history_pipelines=60, speed=1)
    standin.action("create_project", path=PROJECT)
    exporter = watch(
        make_exporter(standin, backfill_days=2),
        receiver,
        rules=[branch(), {"kind": "run_failed", "name": "runs", "projects": ["!acme/p"]}],
        group_wait_seconds=3,
    )
    exporter.start().wait_ready()
    build(standin, exporter, "failed")
    exporter.kill()
    exporter.start().wait_ready()
    wait_until(lambda: titles(receiver, "/chat") == [BROKEN], "the message after the kill")
    wait_until(lambda: waiting(tmp_path) == 0, "it is sent")
    exporter.kill()
    exporter.start().wait_ready()
    build(standin, exporter, "failed")
    build(standin, exporter, "success")
    exporter.kill()
    exporter.start().wait_ready()
    wait_until(lambda: titles(receiver, "/chat")[1:] == [MENDED], "the recovery after the kill")
    assert titles(receiver, "/chat") == [BROKEN, MENDED]


def branch() -> dict[str, Any]:
    return {"kind": "branch_broken", "name": "main", "projects": [PROJECT]}


def waiting(folder: Path) -> int:
    """Messages in the store that are still to be sent."""
    with closing(sqlite3.connect(folder / "pipelines.db")) as database:
        return int(database.execute("SELECT count(*) FROM notices").fetchone()[0])


def test_a_reload_with_a_wrong_template_changes_nothing_and_says_where_it_is(
    start_standin: StartStandIn, make_exporter: MakeExporter, receiver: Services
) -> None:
    standin = start_standin(projects=0, speed=1)
    standin.action("create_project", path=PROJECT)
    exporter = watch(make_exporter(standin), receiver).start().wait_ready()
    good = exporter.config_path.read_text()
    watch(exporter, receiver, rules=[branch() | {"title": "{{ project"}])
    answer = exporter.session.post(f"{exporter.url}/-/reload")
    assert answer.status_code == 500
    assert "alerts.rules.0.title: the template is wrong" in answer.text
    exporter.config_path.write_text(good)
    watch(exporter, receiver, rules=[branch() | {"title": "{{ project }}: oh no"}])
    assert exporter.session.post(f"{exporter.url}/-/reload").status_code == 200
    build(standin, exporter, "failed")
    wait_until(lambda: titles(receiver, "/chat") == [f"{PROJECT}: oh no"], "the message in other words")
