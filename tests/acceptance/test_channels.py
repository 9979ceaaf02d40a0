"""A broken branch over mail, a real Alertmanager and a dead receiver: none waits for another."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from collectors.gitlab.standin.client import StandIn
from tests.acceptance.conftest import MakeExporter, StartStandIn
from tests.support.process import ExporterProcess, free_port, wait_until
from tests.support.prometheus import Alertmanager
from tests.support.receivers import Answer, MailServer, Services

PROJECT = "acme/p"
BROKEN, MENDED = f"{PROJECT}: main is broken", f"{PROJECT}: main works again"
ROOT_ONLY = {"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}


def configure(exporter: ExporterProcess, channels: dict[str, Any]) -> None:
    config = yaml.safe_load(exporter.config_path.read_text())
    alerts = {"channels": channels, "group_wait_seconds": 0.5, "evaluation_interval_seconds": 0.2}
    exporter.write_config(config | {"alerts": alerts})


def build(standin: StandIn, outcome: str) -> None:
    """A new pipeline of the default branch ends with *outcome*."""
    standin.action("new_pipeline", project=PROJECT, jobs=[{"name": "unit", "outcome": outcome, "run": 1}])
    standin.advance(60)


def subjects(mail: MailServer) -> list[str]:
    return [str(one.message["Subject"]) for one in list(mail.mails)]


def titles(services: Services) -> list[str]:
    return [request.json["title"] for request in list(services.requests)]


def test_every_channel_tells_the_start_and_the_end_once_though_one_was_dead_and_the_process_was_killed(
    start_standin: StartStandIn, make_exporter: MakeExporter, stack: ExitStack, tmp_path: Path
) -> None:
    standin = start_standin(projects=0, speed=1)
    standin.action("create_project", path=PROJECT)
    routes = tmp_path / "alertmanager.yml"
    routes.write_text(yaml.safe_dump(ROOT_ONLY))
    alertmanager = stack.enter_context(Alertmanager(tmp_path, routes))
    mail = stack.enter_context(MailServer(tmp_path))
    chat = stack.enter_context(Services(tmp_path))
    chat.answer = lambda _request: Answer(503)
    channels = {
        "mail": {"url": f"mailto://127.0.0.1:{mail.port}?from=ci@example.com&to=team@example.com"},
        "duty": {"alertmanager": {"url": f"http://{alertmanager.address}"}},
        "chat": {"url": f"json://{chat.address}/hook"},
        "nobody": {"url": f"json://127.0.0.1:{free_port()}/hook"},
    }
    exporter = make_exporter(standin)
    configure(exporter, channels)
    exporter.start().wait_ready()
    build(standin, "success")
    build(standin, "failed")
    wait_until(lambda: subjects(mail) == [BROKEN], "the mail")
    rule = "default-branch-broken"
    wait_until(lambda: len(alertmanager.alerts(rule)) == 1, "the alert in Alertmanager")
    assert alertmanager.alerts(rule)[0]["labels"]["project"] == PROJECT
    wait_until(lambda: bool(chat.requests), "an attempt at the chat")
    failed = 'ci_exporter_notifications_total{channel="nobody",result="error"} 0.0'
    wait_until(lambda: failed not in exporter.scrape(), "an attempt at nobody is counted")

    exporter.kill()
    chat.requests.clear()
    chat.answer = lambda _request: Answer()
    exporter.start().wait_ready()
    wait_until(lambda: titles(chat) == [BROKEN], "the chat is told after all")
    build(standin, "success")
    wait_until(lambda: subjects(mail) == [BROKEN, MENDED], "the second mail")
    wait_until(lambda: titles(chat) == [BROKEN, MENDED], "the second message")
    wait_until(lambda: not alertmanager.alerts(rule), "the end in Alertmanager")

    configure(exporter, {name: one for name, one in channels.items() if name != "nobody"})
    assert exporter.session.post(f"{exporter.url}/-/reload", timeout=60).status_code == 200
    wait_until(lambda: "channel is not configured any more" in exporter.log_path.read_text(), "the warning")
    assert exporter.terminate() == 0
    assert subjects(mail) == titles(chat) == [BROKEN, MENDED]
