"""The Helm chart: valid to Helm and Kubernetes for every way to use it, safe, and true to the program."""

from __future__ import annotations

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from exporter.web.hooks import PREFIX
from tests.support.deployment import (
    CHART,
    DEPLOY,
    ROOT,
    Object,
    ask,
    check_config,
    objects,
    of_kind,
    pod_of,
    unrestricted,
)
from tests.support.process import ExporterProcess, free_port

WAYS: dict[str, Object] = {"defaults": {}} | {
    path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text())
    for path in sorted((CHART / "ci").glob("*-values.yaml"))
}
VALUES: Object = yaml.safe_load((CHART / "values.yaml").read_text())
KUBERNETES = ["1.27", "1.37"]
OTHERS: dict[str, Object] = {
    "another config": {"config": {"collectors": {"runner": {}}}},
    "another secret": WAYS["postgresql"]
    | {"secrets": {"create": {"store-url": "postgresql://elsewhere/ci"}}},
    "one replica": {"store": {"kind": "postgresql", "replicas": 1}},
}
WRONG: dict[str, tuple[Object, str]] = {
    "unknown key": ({"replicas": 3}, "replicas"),
    "unknown mode": ({"mode": "server"}, "mode"),
    "unknown store": ({"store": {"kind": "mysql"}}, "kind"),
    "no replica": ({"store": {"replicas": 0}}, "replicas"),
    "a digest that is none": ({"image": {"digest": "latest"}}, "digest"),
    "a store of the user's own": ({"config": {"store": {"url": "sqlite:///x"}}}, "set store.kind"),
    "a port for hooks of the user's own": (
        {"hooks": {"enabled": True}, "config": {"hooks": {"addr": ":80"}}},
        "config.hooks.addr",
    ),
    "an Ingress without a name": ({"hooks": {"enabled": True, "ingress": {"enabled": True}}}, "ingress.host"),
    "a port of the user's own": ({"config": {"metrics": {"addr": ":80"}}}, "config.metrics.addr"),
}
SECRETS = {
    "gitlab-token": "glpat-x",
    "gitlab-hooks": "a-secret",
    "store-url": "postgresql://a:b@db/ci",
    "reports-dsn": "postgresql://a@db/r",
    "kafka-password": "a-password",
    "mail-url": "mailtos://a:b@example.org?to=c@example.org",
}


@pytest.fixture(scope="module")
def answers() -> Object:
    """What the judges say, asked in one go."""
    every = [*WAYS.values(), *OTHERS.values(), *(values for values, _ in WRONG.values())]
    return ask(
        render={"chart": str(CHART), "values": every},
        lint={"chart": str(CHART), "values": list(WAYS.values())},
    )


@pytest.fixture(scope="module")
def made(answers: Object) -> dict[str, Any]:
    """``way -> Kubernetes objects``, or the complaint."""
    return {
        way: texts if isinstance(texts, str) else [one for text in _manifests(texts) for one in objects(text)]
        for way, texts in zip([*WAYS, *OTHERS, *WRONG], answers["render"], strict=True)
    }


def _manifests(texts: dict[str, str]) -> list[str]:
    return [text for name, text in texts.items() if name.endswith(".yaml")]


def _workload(among: list[Object]) -> Object:
    (found,) = (one for one in among if one["kind"] in ("StatefulSet", "Deployment", "CronJob"))
    return found


def test_helm_has_nothing_against_it(answers: Object) -> None:
    for way, report in zip(WAYS, answers["lint"], strict=True):
        assert report["errors"] == [], way
        # An icon is all that it misses: a piece of information, not a warning.
        assert [one["error"] for one in report["messages"] if one["severity"] > 1] == [], way


def test_kubernetes_takes_all_of_it(made: dict[str, Any]) -> None:
    every = [one for way in WAYS for one in made[way]]
    assert ask(kubernetes={"objects": every, "versions": KUBERNETES})["kubernetes"] == []


def test_the_schemas_would_tell(made: dict[str, Any]) -> None:
    wrong = copy.deepcopy(made["sqlite"])
    of_kind("StatefulSet", wrong)["spec"]["template"]["spec"]["contaners"] = []
    of_kind("ServiceMonitor", wrong)["spec"]["endpoints"][0]["intervall"] = "30s"
    complaints = ask(kubernetes={"objects": wrong, "versions": ["1.37"]})["kubernetes"]
    assert len(complaints) == 2
    assert "contaners" in "".join(complaints)
    assert "intervall" in "".join(complaints)


@pytest.mark.parametrize(
    ("way", "kinds"),
    [
        ("defaults", "ConfigMap NetworkPolicy Service ServiceAccount StatefulSet"),
        (
            "sqlite",
            "ConfigMap NetworkPolicy PrometheusRule Service ServiceAccount ServiceMonitor StatefulSet",
        ),
        (
            "postgresql",
            "ConfigMap Deployment NetworkPolicy PodDisruptionBudget PrometheusRule Secret Service"
            " ServiceAccount ServiceMonitor",
        ),
        ("hooks", "ConfigMap Ingress NetworkPolicy Service Service ServiceAccount StatefulSet"),
        ("one replica", "ConfigMap Deployment NetworkPolicy Service ServiceAccount"),
        ("once", "ConfigMap CronJob NetworkPolicy PersistentVolumeClaim ServiceAccount"),
        ("once-postgresql", "ConfigMap CronJob ServiceAccount"),
    ],
)
def test_each_way_has_its_objects(made: dict[str, Any], way: str, kinds: str) -> None:
    assert sorted(one["kind"] for one in made[way]) == kinds.split()


@pytest.mark.parametrize("way", WAYS)
def test_pods_are_confined(made: dict[str, Any], way: str) -> None:
    assert unrestricted(pod_of(_workload(made[way]))) == []


@pytest.mark.parametrize("way", WRONG)
def test_wrong_values_are_refused_with_their_name(made: dict[str, Any], way: str) -> None:
    assert isinstance(made[way], str), "Helm took it"
    assert WRONG[way][1] in made[way]


@pytest.mark.parametrize("way", WAYS)
def test_the_program_takes_its_configuration(
    made: dict[str, Any], way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dict(of_kind("ConfigMap", made[way])["data"])
    text = data.pop("config.yaml")
    (container,) = pod_of(_workload(made[way]))["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    web = {"web-config.yml": "basic_auth_users: {}\n"}
    config = check_config(text, tmp_path, monkeypatch, env, **SECRETS, **web, **data)
    assert config["metrics"]["enabled"] is (container["args"][0] == "serve")


def test_probes_and_ports_are_what_the_program_serves(made: dict[str, Any], tmp_path: Path) -> None:
    (container,) = pod_of(of_kind("StatefulSet", made["defaults"]))["containers"]
    config = yaml.safe_load(of_kind("ConfigMap", made["defaults"])["data"]["config.yaml"])
    ports = {one["containerPort"]: one["name"] for one in container["ports"]}
    assert ports[int(config["metrics"]["addr"].rpartition(":")[2])] == "metrics"
    assert ports[int(config["metrics"]["health_addr"].rpartition(":")[2])] == "health"

    health, admin = free_port(), free_port()
    metrics = config["metrics"] | {"health_addr": f":{health}", "admin_addr": f"127.0.0.1:{admin}"}
    del metrics["addr"]  # the test's own
    own = {"metrics": metrics, "store": {"url": f"sqlite:///{tmp_path}/s.db"}, "collectors": {"runner": {}}}
    with ExporterProcess(tmp_path, own) as exporter:
        exporter.start().wait_ready()
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            get = container[probe]["httpGet"]
            assert get["port"] == "health"
            assert requests.get(f"http://127.0.0.1:{health}{get['path']}", timeout=30).status_code == 200
        assert requests.get(f"http://127.0.0.1:{admin}/-/config", timeout=30).status_code == 200
        # Nobody but who may forward a port sees the configuration.
        assert exporter.answers("/-/config", 404)
        assert exporter.answers("/metrics")


def test_the_rules_are_those_of_prometheus(made: dict[str, Any]) -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
    assert of_kind("PrometheusRule", made["sqlite"])["spec"] == rules


def test_the_job_is_the_one_that_the_alerts_look_for(made: dict[str, Any]) -> None:
    monitor, service = of_kind("ServiceMonitor", made["sqlite"]), of_kind("Service", made["sqlite"])
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "ci-exporter"
    assert 'job="ci-exporter"' in (DEPLOY / "prometheus" / "rules.yaml").read_text()
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()


def test_services_and_policies_select_the_pods(made: dict[str, Any]) -> None:
    for way in ("sqlite", "postgresql"):
        labels = _workload(made[way])["spec"]["template"]["metadata"]["labels"].items()
        assert of_kind("Service", made[way])["spec"]["selector"].items() <= labels
        assert of_kind("NetworkPolicy", made[way])["spec"]["podSelector"]["matchLabels"].items() <= labels
        assert _workload(made[way])["spec"]["selector"]["matchLabels"].items() <= labels


def test_https_is_scraped_as_such(made: dict[str, Any]) -> None:
    (endpoint,) = of_kind("ServiceMonitor", made["postgresql"])["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["serverName"] == "ci-exporter.ci.svc"
    assert endpoint["basicAuth"]["username"]["name"] == "metrics-login"
    (plain,) = of_kind("ServiceMonitor", made["sqlite"])["spec"]["endpoints"]
    assert plain == {"port": "metrics", "interval": "30s", "scrapeTimeout": "10s"}


def test_only_prometheus_may_come_in_and_a_job_reaches_its_pushgateway(made: dict[str, Any]) -> None:
    (rule,) = of_kind("NetworkPolicy", made["sqlite"])["spec"]["ingress"]
    assert rule["from"] == VALUES["networkPolicy"]["prometheus"]
    assert [one["port"] for one in rule["ports"]] == ["metrics"]
    job = of_kind("NetworkPolicy", made["once"])["spec"]
    assert job["ingress"] == []
    assert {"ports": [{"port": 9091, "protocol": "TCP"}]} in job["egress"]


def test_hooks_have_a_way_in_that_leads_to_nothing_else(made: dict[str, Any]) -> None:
    (own,) = (
        one
        for one in made["hooks"]
        if one["metadata"]["name"] == "ci-exporter-hooks" and one["kind"] == "Service"
    )
    (path,) = of_kind("Ingress", made["hooks"])["spec"]["rules"][0]["http"]["paths"]
    assert (path["path"], path["pathType"]) == (PREFIX, "Prefix")
    assert path["backend"]["service"] == {"name": own["metadata"]["name"], "port": {"name": "hooks"}}
    (container,) = pod_of(_workload(made["hooks"]))["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    config = yaml.safe_load(of_kind("ConfigMap", made["hooks"])["data"]["config.yaml"])
    assert config["hooks"] == {
        "enabled": True,
        "addr": f":{ports[own['spec']['ports'][0]['targetPort']]}",
        "max_waiting": 100_000,
    }
    scraped, sent = of_kind("NetworkPolicy", made["hooks"])["spec"]["ingress"]
    assert scraped["from"] == VALUES["networkPolicy"]["prometheus"]
    assert sent["from"] == WAYS["hooks"]["networkPolicy"]["hooks"]
    assert [one["port"] for one in sent["ports"]] == ["hooks"]


def _checksums(among: list[Object]) -> dict[str, str]:
    annotations = _workload(among)["spec"]["template"]["metadata"]["annotations"]
    return {name: value for name, value in annotations.items() if name.startswith("checksum/")}


def test_a_change_of_configuration_or_secret_restarts_the_pods(made: dict[str, Any]) -> None:
    assert _checksums(made["defaults"]) == _checksums(made["sqlite"])
    assert _checksums(made["defaults"]) != _checksums(made["another config"])
    before, after = _checksums(made["postgresql"]), _checksums(made["another secret"])
    assert before["checksum/config"] == after["checksum/config"]
    assert before["checksum/secret"] != after["checksum/secret"]


def _leaves(values: Object, schema: Object, path: str = "") -> list[str]:
    """Keys of *values* that are no sections of the schema."""
    found: list[str] = []
    for key, value in values.items():
        inner = schema["properties"][key]
        if isinstance(value, dict) and inner.get("properties"):
            found += _leaves(value, inner, f"{path}{key}.")
        else:
            found.append(path + key)
    return found


def test_every_value_is_in_the_schema_and_in_the_readme() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    leaves = _leaves(VALUES, schema)  # a KeyError: not in the schema
    told = set(re.findall(r"`([a-zA-Z.]+)`", (CHART / "README.md").read_text()))
    assert [leaf for leaf in leaves if leaf not in told] == []


def test_versions_are_those_of_the_program() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version
    for name in ("kubernetes", "kubernetes/once"):
        kustomization = yaml.safe_load((DEPLOY / name / "kustomization.yaml").read_text())
        assert [image["newTag"] for image in kustomization["images"]] == [version]
    assert yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["ci-exporter"]["image"] == (
        f"ci-exporter:{version}"
    )
