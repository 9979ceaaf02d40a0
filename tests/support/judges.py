"""What other projects say about our files: Helm, the schemas of Kubernetes, of its operator and of Compose.

Run by the Python of build/tools, which `.ci/tools` makes; a request comes as JSON on standard input, and the
answer goes as JSON to standard output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml

SCHEMAS = Path(__file__).resolve().parents[2] / "build" / "tools" / "schemas"
Object = dict[str, Any]


def render(chart: str, values: list[Object], namespace: str = "ci") -> list[Any]:
    """The manifests that Helm makes of each of *values*: ``file -> text``, or its complaint."""
    import helm_python as helm

    loaded = helm.Chart.load(chart)
    found: list[Any] = []
    for one in values:
        try:
            loaded.validate_schema(one)
            found.append(loaded.render(one, name="ci-exporter", namespace=namespace))
        except helm.HelmError as error:
            found.append(str(error))
    return found


def lint(chart: str, values: list[Object]) -> list[Object]:
    """What ``helm lint --strict`` says with each of *values*."""
    import helm_python as helm

    return [helm.lint(chart, one, strict=True, namespace="ci") for one in values]


def kubernetes(objects: list[Object], versions: list[str]) -> list[str]:
    """What is wrong with *objects*, unknown keys included."""
    import kubernetes_validate

    complaints: list[str] = []
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["apiVersion"].startswith("monitoring.coreos.com/"):
            complaints += [f"{name}: {text}" for text in _against(_resource_schema(one["kind"]), one)]
            continue
        for version in versions:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                complaints.append(f"{name} ({version}): {list(error.path)}: {error.message}")
    return complaints


def compose(document: Object) -> list[str]:
    """What the Compose specification has against *document*."""
    return _against(json.loads((SCHEMAS / "compose-spec.json").read_text()), document)


def _against(schema: Object, document: Object) -> list[str]:
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def _resource_schema(kind: str) -> Object:
    """The schema of a custom resource of the Prometheus Operator."""
    crd = yaml.safe_load((SCHEMAS / f"monitoring.coreos.com_{kind.lower()}s.yaml").read_text())
    schema: Object = _strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def _strict(schema: Any) -> Any:
    """*schema*, with unknown keys forbidden as ``kubectl --validate=strict`` forbids them."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if isinstance(strict.get("properties"), dict) and strict.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    return strict


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    answer = {name: globals()[name](**arguments) for name, arguments in asked.items()}
    json.dump(answer, sys.stdout)
