"""The shipped rules in a real Prometheus with a real Alertmanager: a broken branch is told, and its end."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance.conftest import MakeExporter, StartStandIn
from tests.support.process import ROOT, wait_until
from tests.support.prometheus import Alertmanager, Prometheus

SHIPPED = ROOT / "deploy" / "prometheus"
ALERT = "CiDefaultBranchFailing"


def impatient(folder: Path) -> Path:
    """The shipped rules, but for the time that must pass before an alert fires."""
    text, number = re.subn(r"for: \w+", "for: 1s", (SHIPPED / "rules.yaml").read_text())
    assert number > 10
    path = folder / "rules.yaml"
    path.write_text(re.sub(r"interval: 1m", "interval: 1s", text))
    return path


def test_a_broken_default_branch_fires_in_alertmanager_and_resolves_when_it_is_mended(
    start_standin: StartStandIn, make_exporter: MakeExporter, stack: ExitStack, tmp_path: Path
) -> None:
    standin = start_standin(projects=0, speed=1)
    standin.action("create_project", path="acme/p")
    exporter = make_exporter(standin).start().wait_ready()
    alertmanager = stack.enter_context(Alertmanager(tmp_path, SHIPPED / "alertmanager.yaml"))
    target = exporter.url.removeprefix("http://")
    rules = impatient(tmp_path)
    stack.enter_context(Prometheus(tmp_path, target, rules=rules, alertmanager=alertmanager.address))

    broken = {"name": "unit", "outcome": "failed", "run": 1}
    standin.action("new_pipeline", project="acme/p", jobs=[broken])
    standin.advance(120)
    wait_until(lambda: bool(alertmanager.alerts(ALERT)), "the alert")
    (alert,) = alertmanager.alerts(ALERT)
    assert alert["labels"]["project"] == "acme/p"
    assert alert["labels"]["severity"] == "warning"
    assert alert["annotations"]["summary"] == "acme/p: main is broken"
    assert alert["annotations"]["runbook"].startswith("Open the pipeline")
    assert alert["receivers"] == [{"name": "team"}]

    standin.action("new_pipeline", project="acme/p", jobs=[{"name": "unit", "run": 1}])
    standin.advance(120)
    wait_until(lambda: not alertmanager.alerts(ALERT), "the end of the alert")
