"""compose.yaml and what it mounts: valid to the specification, confined, and fit for the programs in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployment import DEPLOY, Object, ask, check_config
from tests.support.tools import require

FILE = DEPLOY / "compose.yaml"
COMPOSE: Object = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Object] = COMPOSE["services"]


def test_the_specification_takes_it() -> None:
    assert ask(compose={"document": COMPOSE})["compose"] == []


def test_the_specification_would_tell() -> None:
    wrong = COMPOSE | {"services": {**SERVICES, "more": {"image": "x", "read_olny": True}}}
    assert len(ask(compose={"document": wrong})["compose"]) == 1


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].partition(":")[0]) > 0
    assert "mem_limit" in service
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert not service.get("privileged")


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_a_version(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_checked(name: str) -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert "healthcheck" in SERVICES[name] or (name == "ci-exporter" and "\nHEALTHCHECK " in dockerfile)


def _mounts() -> list[tuple[str, str]]:
    """``(source, what is said of it)`` of every bind mount."""
    every = [one for service in SERVICES.values() for one in service["volumes"]]
    return [(one.partition(":")[0], one) for one in every if one.startswith(".")]


def test_what_is_mounted_is_there_and_read_only() -> None:
    for source, mount in _mounts():
        assert (DEPLOY / source).exists(), source
        assert mount.endswith(":ro"), mount


def test_grafana_asks_the_containers_what_it_asks_this_machine_elsewhere() -> None:
    on_a_host = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/ci-exporter.yaml").read_text())
    in_compose = (DEPLOY / "compose/grafana-datasources.yaml").read_text()
    for service in ("prometheus:9090", "ci-exporter:9101"):
        assert service.partition(":")[0] in SERVICES
        in_compose = in_compose.replace(service, "127.0.0.1:" + service.partition(":")[2])
    assert yaml.safe_load(in_compose) == on_a_host
    boards = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/ci-exporter.yaml").read_text())
    (provider,) = boards["providers"]
    targets = [one.split(":")[1] for one in SERVICES["grafana"]["volumes"] if one.startswith(".")]
    assert provider["options"]["path"] in targets


def test_secrets_are_files_that_nobody_commits() -> None:
    # Compose refuses any other kind for a container whose root is read-only.
    ignored = (DEPLOY.parent / ".gitignore").read_text().split()
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./compose/secrets/")
    assert "/deploy/compose/secrets/" in ignored


def test_what_is_written_lands_in_volumes() -> None:
    volumes = [one for service in SERVICES.values() for one in service["volumes"] if not one.startswith(".")]
    assert sorted(one.partition(":")[0] for one in volumes) == sorted(COMPOSE["volumes"])


def test_the_program_takes_its_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DEPLOY / "compose" / "config.yaml").read_text()
    check_config(text, tmp_path, monkeypatch, {}, gitlab_token="glpat-x")


def _checked(*command: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    promtool = require("promtool", "prometheus")
    text = (DEPLOY / "compose" / "prometheus.yaml").read_text()
    assert "/etc/prometheus/rules.yaml" in text
    rules = DEPLOY / "prometheus" / "rules.yaml"
    (tmp_path / "prometheus.yaml").write_text(text.replace("/etc/prometheus/rules.yaml", str(rules)))
    assert "1 rule files found" in _checked(promtool, "check", "config", tmp_path / "prometheus.yaml")


def test_prometheus_scrapes_and_alerts_what_runs_beside_it() -> None:
    config = yaml.safe_load((DEPLOY / "compose" / "prometheus.yaml").read_text())
    jobs = {one["job_name"]: one["static_configs"][0]["targets"] for one in config["scrape_configs"]}
    assert jobs["ci-exporter"] == ["ci-exporter:9101"]
    assert SERVICES["demo"]["networks"]["default"]["aliases"] == ["ci-exporter"]
    (manager,) = config["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["alertmanager:9093"]}]


def test_alertmanager_takes_its_configuration() -> None:
    amtool = require("amtool", "prometheus-alertmanager")
    file = DEPLOY / "prometheus" / "alertmanager.yaml"
    assert "SUCCESS" in _checked(amtool, "check-config", file)
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
    severities = {
        rule["labels"]["severity"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule
    }
    expected = {"critical": "on-call", "warning": "team", "info": "nobody"}
    for severity in severities:
        told = _checked(amtool, "config", "routes", "test", f"--config.file={file}", f"severity={severity}")
        assert told.split()[0] == expected[severity]
