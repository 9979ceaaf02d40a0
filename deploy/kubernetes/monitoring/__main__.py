"""Writes prometheusrule.yaml from deploy/prometheus/rules.yaml: ``python deploy/kubernetes/monitoring``."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE.parents[1] / "prometheus" / "rules.yaml"
HEAD = """\
# Made from deploy/prometheus/rules.yaml by `python deploy/kubernetes/monitoring`; a test holds the two equal.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ci-exporter
  labels: {app.kubernetes.io/name: ci-exporter}
spec:
"""


def prometheus_rule() -> str:
    """The whole object, with the rules and their comments as they are."""
    lines = RULES.read_text().splitlines()
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in lines)


if __name__ == "__main__":
    (HERE / "prometheusrule.yaml").write_text(prometheus_rule())
