"""An Alertmanager that restarts is told again of what stands, and forgets what ends silently."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.conftest import MakeExporter, StartStandIn
from tests.support.process import ExporterProcess, wait_until
from tests.support.prometheus import Alertmanager

PROJECT, RULE = "acme/p", "main-broken"


def configure(exporter: ExporterProcess, address: str, *rules: dict[str, Any]) -> None:
    duty = {"url": f"http://{address}", "resend_interval_seconds": 1}
    quick = {"group_wait_seconds": 0, "evaluation_interval_seconds": 0.2}
    alerts = {"channels": {"duty": {"alertmanager": duty}, "trial": {"log": True}}, "rules": list(rules)}
    exporter.write_config(yaml.safe_load(exporter.config_path.read_text()) | {"alerts": alerts | quick})


def messages(exporter: ExporterProcess) -> int:
    return exporter.log_path.read_text().count("message to people")


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump({"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}))
    return path


def test_it_is_kept_up_to_date_without_one_more_message(
    start_standin: StartStandIn, make_exporter: MakeExporter, stack: ExitStack, tmp_path: Path, routes: Path
) -> None:
    standin = start_standin(projects=0, speed=1)
    standin.action("create_project", path=PROJECT)
    exporter = make_exporter(standin)
    with Alertmanager(tmp_path, routes) as first:
        configure(exporter, first.address, {"kind": "branch_broken", "name": RULE})
        exporter.start().wait_ready()
        # No time is skipped: an alert that begins in the future would not end before that.
        jobs = [{"name": "unit", "outcome": "failed", "run": 1}]
        standin.action("new_pipeline", project=PROJECT, jobs=jobs)
        wait_until(lambda: bool(first.alerts(RULE)), "the alert")
    wait_until(lambda: messages(exporter) == 1, "the message")

    (tmp_path / "empty").mkdir()
    second = stack.enter_context(Alertmanager(tmp_path / "empty", routes, first.address))
    wait_until(lambda: bool(second.alerts(RULE)), "the alert in an Alertmanager that knew nothing")

    configure(exporter, first.address)
    assert exporter.session.post(f"{exporter.url}/-/reload", timeout=60).status_code == 200
    wait_until(lambda: not second.alerts(RULE), "the alert whose rule is gone is over")
    assert messages(exporter) == 1
