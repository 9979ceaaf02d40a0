"""Every shipped file has the documented form."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from collectors.postgres.overlay import MetricOverlay, Overlay
from collectors.postgres.queryfile import read_query_file

FILES = sorted((Path(__file__).parents[2] / "queries").glob("*.yml"))
NAMES = {
    *("pr_open", "pr_closed", "pr_result_report", "pr_check_summary", "pr_missing_report"),
    *("pr_oldest_open_age", "pr_time_to_first_review", "pr_time_to_merge"),
}
METRIC_KEYS = {"metric_name", "type", "help", "key_labels", "values", "query"}
each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.partition(".")[0])


@pytest.fixture
def file(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def test_these_are_the_reports() -> None:
    assert {path.name for path in FILES} == {f"{name}.collector.yml" for name in NAMES}


@each
def test_a_file_is_named_like_its_collector_and_its_metric(path: Path, file: dict[str, Any]) -> None:
    (metric,) = file["metrics"]
    assert f"{file['collector_name']}.collector.yml" == path.name
    assert metric["metric_name"].removeprefix("oneclick_").removesuffix("_seconds") == file["collector_name"]


@each
def test_sql_exporter_knows_every_key_but_one(file: dict[str, Any]) -> None:
    assert set(file) == {"collector_name", "metrics", "ci_exporter"}
    for metric in file["metrics"]:
        assert set(metric) == METRIC_KEYS
        assert metric["type"] == "gauge"
        assert metric["help"]


@each
def test_a_file_has_a_title_and_only_documented_additions(file: dict[str, Any], queries: Path) -> None:
    readme = (queries / "README.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", readme, re.MULTILINE))
    extra = file["ci_exporter"]
    assert extra["title"]
    assert extra["description"].endswith(".")
    assert set(extra) <= {"title", "description", "metrics"} <= documented
    for name, additions in extra.get("metrics", {}).items():
        assert name in {metric["metric_name"] for metric in file["metrics"]}
        assert set(additions) <= {"unit", "buckets", "once_by"} <= documented
        assert name.endswith(f"_{additions['unit']}")
        assert additions.get("buckets", []) == sorted(set(additions.get("buckets", [])))


@each
def test_the_collector_reads_it(path: Path) -> None:
    file = read_query_file(path)
    assert all(metric.once is None or metric.buckets for metric in file.metrics)


def test_the_readme_lists_every_addition(queries: Path) -> None:
    extra, metric = re.findall(
        r"^\| key \| default \|.*?(?=^$)", (queries / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert set(re.findall(r"^\| `([a-z_]+)`", extra, re.MULTILINE)) == set(Overlay.model_fields)
    assert set(re.findall(r"^\| `([a-z_]+)`", metric, re.MULTILINE)) == set(MetricOverlay.model_fields)


@each
def test_no_statement_names_a_schema_or_writes(file: dict[str, Any]) -> None:
    for metric in file["metrics"]:
        text = metric["query"]
        assert re.findall(r"^[A-Z ]*(?:FROM|JOIN) \w+\.", text, re.MULTILINE) == []
        assert re.findall(r"\b(INSERT|UPDATE|DELETE|CREATE|SET)\b", text) == []
        # A per cent sign would have to be doubled as soon as somebody adds parameters.
        assert "%" not in text


@each
def test_the_readme_lists_the_metric_with_its_labels(file: dict[str, Any], queries: Path) -> None:
    (metric,) = file["metrics"]
    labels = ", ".join(f"`{label}`" for label in metric["key_labels"])
    assert f"| `{metric['metric_name']}` | {labels} |" in (queries / "README.md").read_text()


def test_the_help_of_missing_reports_is_as_it_always_was(report: Callable[[str], dict[str, Any]]) -> None:
    (metric,) = report("pr_missing_report")["metrics"]
    assert metric["help"] == "The number of pull requests in one project with missing reports"
