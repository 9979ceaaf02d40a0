"""The running service from outside: endpoints, signals, reload, restart."""

from __future__ import annotations

import json
import signal
import socket

import requests
import yaml

from tests.acceptance.conftest import MakeExporter, StartStandIn
from tests.support.process import PATIENCE, SOON, run_cli, wait_until


def test_every_endpoint_answers(start_standin: StartStandIn, make_exporter: MakeExporter) -> None:
    standin = start_standin(projects=3, history_days=1, history_pipelines=20)
    exporter = make_exporter(standin, backfill_days=2).start().wait_ready()
    for path in ("/", "/metrics", "/healthz", "/-/healthy", "/-/ready"):
        assert exporter.session.get(f"{exporter.url}{path}").status_code == 200, path
        assert exporter.session.head(f"{exporter.url}{path}").status_code == 200, path
    assert exporter.session.post(f"{exporter.url}/metrics").status_code == 405
    page = exporter.session.get(f"{exporter.url}/").text
    assert "gitlab" in page
    assert "up to date" in page
    config = exporter.session.get(f"{exporter.url}/-/config").text
    assert "operations_per_second: 1000" in config
    assert standin.token not in config
    only = exporter.session.get(f"{exporter.url}/metrics?name[]=ci_project_info").text
    assert {line.split("{")[0] for line in only.splitlines() if not line.startswith("#")} == {
        "ci_project_info"
    }
    assert exporter.session.get(f"{exporter.url}/metrics?collect[]=nobody").status_code == 400
    openmetrics = exporter.session.get(
        f"{exporter.url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert openmetrics.text.endswith("# EOF\n")
    assert exporter.terminate() == 0


def test_the_port_is_free_at_once_and_totals_survive(
    start_standin: StartStandIn, make_exporter: MakeExporter
) -> None:
    standin = start_standin(projects=3, history_days=1, history_pipelines=40)
    exporter = make_exporter(standin, backfill_days=2).start().wait_ready()
    before = _totals(exporter.scrape())
    with socket.create_connection(("127.0.0.1", exporter.port)) as idle:
        idle.send(b"GET /metrics HTTP/1.1\r\nHost:")
        assert exporter.terminate(SOON) == 0
    standin.faults({"kind": "drop", "path": ".*"})
    exporter.start()
    wait_until(lambda: exporter.answers("/healthz"), "alive")
    # The source is dead: not ready, but what is stored is shown.
    assert _totals(exporter.scrape()) == before
    assert exporter.session.get(f"{exporter.url}/-/ready").status_code == 503
    standin.faults()
    exporter.wait_ready()
    assert _totals(exporter.scrape()) == before


def test_a_reload_changes_what_is_watched_and_a_bad_file_changes_nothing(
    start_standin: StartStandIn, make_exporter: MakeExporter
) -> None:
    standin = start_standin(projects=6, history_days=1, history_pipelines=60)
    exporter = make_exporter(standin, backfill_days=2).start().wait_ready()
    everything = exporter.scrape()
    names = sorted(_projects(everything))
    good = exporter.config_path.read_text()

    exporter.config_path.write_text(good.replace("operations_per_second", "operations_per_secnd"))
    answer = exporter.session.post(f"{exporter.url}/-/reload")
    assert answer.status_code == 500
    assert "operations_per_second" in answer.text
    assert "ci_exporter_config_last_reload_successful 0.0" in exporter.scrape()
    assert _projects(exporter.scrape()) == set(names)

    config = yaml.safe_load(good)
    config["collectors"]["gitlab"]["exclude"] = [names[0]]
    exporter.config_path.write_text(yaml.safe_dump(config))
    exporter.signal(signal.SIGHUP)
    wait_until(lambda: _projects(exporter.scrape()) == set(names[1:]), "the excluded project vanishes")
    wait_until(
        lambda: "ci_exporter_config_last_reload_successful 1.0" in exporter.scrape(), "the reload is over"
    )

    exporter.config_path.write_text(good)
    assert exporter.session.post(f"{exporter.url}/-/reload").status_code == 200
    wait_until(lambda: _projects(exporter.scrape()) == set(names), "it is back")
    wait_until(lambda: _totals(exporter.scrape()) == _totals(everything), "and its totals")


def test_the_log_level_changes_while_running_and_no_line_holds_the_token(
    start_standin: StartStandIn, make_exporter: MakeExporter
) -> None:
    standin = start_standin(projects=2, token="glpat-very-secret-token")
    exporter = make_exporter(standin).start().wait_ready()
    answer = exporter.session.put(f"{exporter.url}/log_level", data="level=debug")
    assert answer.status_code == 200
    assert exporter.session.put(f"{exporter.url}/log_level", data="level=loud").status_code == 400
    standin.faults({"kind": "html", "path": ".*", "count": 10})
    wait_until(lambda: "poll failed" in exporter.log_path.read_text(), "a failed poll is logged")
    exporter.terminate()
    text = exporter.log_path.read_text()
    assert "glpat-very-secret-token" not in text
    for line in text.splitlines():
        assert {"timestamp", "level", "message"} <= json.loads(line).keys()


def test_a_refused_token_stops_the_polling_until_it_changes(
    start_standin: StartStandIn, make_exporter: MakeExporter, tmp_path: str
) -> None:
    standin = start_standin(projects=2, token="old-token")
    exporter = make_exporter(standin).start().wait_ready()
    standin.action("set_token", token="new-token")
    wait_until(lambda: 'collector_success{collector="gitlab"} 0.0' in exporter.scrape(), "the failure shows")
    calls = standin.requests()["total"]
    scrapes = [exporter.scrape() for _ in range(20)]
    assert standin.requests()["total"] <= calls + 4, "calls that were in flight, and no more"
    assert "ci_project_info" in scrapes[-1]
    assert "refused the token" in exporter.session.get(f"{exporter.url}/").text
    assert exporter.answers("/-/ready"), "what is known can still be scraped"
    exporter.config_path.write_text(exporter.config_path.read_text().replace("old-token", "new-token"))
    assert exporter.session.post(f"{exporter.url}/-/reload").status_code == 200
    exporter.wait_ready()


def test_a_port_in_use_is_one_clear_sentence(
    start_standin: StartStandIn, make_exporter: MakeExporter
) -> None:
    standin = start_standin(projects=1)
    exporter = make_exporter(standin)
    with socket.create_server(("127.0.0.1", exporter.port)):
        done = run_cli("serve", "--config", str(exporter.config_path))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(exporter.port) in done.stderr
    assert "Traceback" not in done.stderr


def test_lifecycle_is_off_unless_asked_for(start_standin: StartStandIn, make_exporter: MakeExporter) -> None:
    exporter = make_exporter(start_standin(projects=1))
    config = yaml.safe_load(exporter.config_path.read_text())
    config["metrics"]["lifecycle"] = False
    exporter.config_path.write_text(yaml.safe_dump(config))
    exporter.start().wait_ready()
    assert requests.post(f"{exporter.url}/-/reload", timeout=PATIENCE).status_code == 403
    assert requests.put(f"{exporter.url}/log_level", data="level=debug", timeout=PATIENCE).status_code == 403


def _totals(text: str) -> dict[str, str]:
    """Every counter and histogram line of the runs."""
    lines = (line for line in text.splitlines() if line.startswith(("ci_pipeline_run", "ci_job_run")))
    return dict(line.rsplit(" ", 1) for line in lines if "_active" not in line)


def _projects(text: str) -> set[str]:
    return {
        line.split('project="')[1].split('"')[0]
        for line in text.splitlines()
        if line.startswith("ci_project_info{")
    }
