"""The judges of what is in deploy/, and short ways to look into its files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli import main
from tests.support.tools import missing

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "ci-exporter"
TOOLS = ROOT / "build" / "tools" / "bin"
Object = dict[str, Any]


def tool(name: str) -> str:
    """The path of a program that `.ci/tools` fetches; missed aloud."""
    path = TOOLS / name
    if not path.exists():
        missing(f"{path.relative_to(ROOT)} is missing (.ci/tools fetches it)")
    return str(path)


def ask(**requests: Any) -> dict[str, Any]:
    """The answers of tests/support/judges.py, by the name of the question."""
    done = subprocess.run(
        [tool("python"), ROOT / "tests" / "support" / "judges.py"],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def objects(text: str) -> list[Object]:
    """The Kubernetes objects in *text*."""
    return [one for one in yaml.safe_load_all(text) if one]


def of_kind(kind: str, among: list[Object]) -> Object:
    """The one object of that kind."""
    found = [one for one in among if one["kind"] == kind]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def check_config(
    text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], **files: str
) -> Object:
    """What ``ci-exporter check`` understands of a config.yaml whose files are in *folder* instead."""
    for name, content in files.items():
        (folder / name).write_text(content)
    for path in ("/etc/ci-exporter/secrets", "/etc/ci-exporter/web", "/run/secrets"):
        text = text.replace(path, str(folder))
    (folder / "config.yaml").write_text(text)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert main(["check", "--config", str(folder / "config.yaml")]) == 0
    return dict(yaml.safe_load(text))


def pod_of(workload: Object) -> Object:
    """The pod specification of a StatefulSet, Deployment or CronJob."""
    spec = workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]
    return dict(spec["template"]["spec"])


def unrestricted(pod: Object) -> list[str]:
    """What *pod* lacks of the restricted profile of Kubernetes, and of what we ask beyond that."""
    context = pod["securityContext"]
    wrong = [] if context.get("runAsNonRoot") is True else ["may run as root"]
    wrong += [] if context["seccompProfile"] == {"type": "RuntimeDefault"} else ["has no seccomp profile"]
    wrong += [] if pod["automountServiceAccountToken"] is False else ["has a token"]
    wrong += [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
    wrong += [f"volume {one['name']}" for one in pod["volumes"] if not set(one) - {"name"} <= allowed]
    for container in pod["containers"]:
        expected = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        wrong += [] if container["securityContext"] == expected else ["its container is not confined"]
        wrong += [] if "memory" in container["resources"]["limits"] else ["its memory has no limit"]
    return wrong
