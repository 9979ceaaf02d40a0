"""The manifests without Helm: built by kustomize, valid, and the same pods as the chart's."""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

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
from tests.support.tools import require

FOLDER = DEPLOY / "kubernetes"
SECRETS = {"gitlab-token": "glpat-x"}


def _built(folder: Path) -> list[Object]:
    """What kustomize makes of *folder*."""
    kubectl = require("kubectl", "kubernetes-client")
    done = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return objects(done.stdout)


@pytest.fixture(scope="module")
def built() -> dict[str, list[Object]]:
    """``folder -> objects``."""
    return {name: _built(FOLDER / name) for name in (".", "hooks", "monitoring", "once")}


def test_kubernetes_takes_all_of_it(built: dict[str, list[Object]]) -> None:
    every = [one for among in built.values() for one in among]
    assert {one["metadata"]["namespace"] for one in every} == {"ci-exporter"}
    assert ask(kubernetes={"objects": every, "versions": ["1.27", "1.37"]})["kubernetes"] == []


def test_every_file_is_part_of_a_kustomization() -> None:
    for kustomization in FOLDER.rglob("kustomization.yaml"):
        told = yaml.safe_load(kustomization.read_text())
        listed = {
            *told["resources"],
            *(file for one in told.get("configMapGenerator", ()) for file in one["files"]),
            kustomization.name,
        }
        assert {path.name for path in kustomization.parent.glob("*.yaml")} == listed


def test_the_rules_are_those_of_prometheus() -> None:
    folder = FOLDER / "monitoring"
    made: str = runpy.run_path(str(folder / "__main__.py"))["prometheus_rule"]()
    assert (folder / "prometheusrule.yaml").read_text() == made, "run: python deploy/kubernetes/monitoring"
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
    assert yaml.safe_load(made)["spec"] == rules


@pytest.mark.parametrize(("folder", "kind"), [(".", "StatefulSet"), ("once", "CronJob")])
def test_pods_are_those_of_the_chart(built: dict[str, list[Object]], folder: str, kind: str) -> None:
    pod = pod_of(of_kind(kind, built[folder]))
    assert unrestricted(pod) == []
    values = {"mode": "once" if folder == "once" else "serve", "secrets": {"existing": "ci-exporter-secrets"}}
    (texts,) = ask(render={"chart": str(CHART), "values": [values]})["render"]
    every = [one for name, text in texts.items() if name.endswith(".yaml") for one in objects(text)]
    charted = pod_of(of_kind(kind, every))
    assert _without_names(pod) == _without_names(charted)


def _without_names(pod: Object) -> Any:
    """*pod* without what the two name differently: its account, its ConfigMap and its claim."""
    volumes = {one["name"]: sorted(set(one) - {"name"}) for one in pod["volumes"]}
    return pod | {"serviceAccountName": "", "volumes": volumes}


@pytest.mark.parametrize("folder", [".", "once"])
def test_the_program_takes_its_configuration(
    built: dict[str, list[Object]], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = of_kind("ConfigMap", built[folder])["data"]["config.yaml"]
    check_config(text, tmp_path, monkeypatch, {}, **SECRETS)


def test_the_service_is_scraped(built: dict[str, list[Object]]) -> None:
    monitor = of_kind("ServiceMonitor", built["monitoring"])["spec"]
    service = of_kind("Service", built["."])
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "ci-exporter"
    assert monitor["endpoints"][0]["port"] in {one["name"] for one in service["spec"]["ports"]}


def test_hooks_lead_to_the_pods_on_the_port_that_their_configuration_is_told(
    built: dict[str, list[Object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks, labels = (
        built["hooks"],
        of_kind("StatefulSet", built["."])["spec"]["template"]["metadata"]["labels"],
    )
    service, policy = of_kind("Service", hooks)["spec"], of_kind("NetworkPolicy", hooks)["spec"]
    assert service["selector"].items() <= labels.items()
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = of_kind("Ingress", hooks)["spec"]["rules"]
    assert (
        rule["http"]["paths"][0]["backend"]["service"]["name"]
        == of_kind("Service", hooks)["metadata"]["name"]
    )
    (told,) = re.findall(r"config\.yaml: (hooks: \{.*?\})", (FOLDER / "hooks/kustomization.yaml").read_text())
    text = of_kind("ConfigMap", built["."])["data"]["config.yaml"] + told
    port = int(check_config(text, tmp_path, monkeypatch, {}, **SECRETS)["hooks"]["addr"].removeprefix(":"))
    assert port == service["ports"][0]["targetPort"] == policy["ingress"][0]["ports"][0]["port"]


def test_no_secret_is_committed() -> None:
    kinds = {
        one.get("kind")
        for path in (ROOT / "deploy" / "kubernetes").rglob("*.yaml")
        for one in objects(path.read_text())
    }
    assert "Secret" not in kinds
