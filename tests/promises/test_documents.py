"""README, metric list, changelog and Prometheus rules say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from exporter import ci_families, selfmetrics
from exporter.cli import main
from exporter.cli.parser import build_parser
from exporter.config.env import LEGACY
from exporter.contract import Trouble
from exporter.plugins import collector_classes

CLASSES = collector_classes()
COMMANDS = sorted(build_parser()._subparsers._group_actions[0].choices)  # type: ignore
FAMILIES = {family.exposed_name: family for cls in CLASSES.values() for family in cls.families} | {
    family.exposed_name: family for family in (*selfmetrics.FAMILIES, *ci_families.FAMILIES)
}
VARIABLES = sorted(
    {entry.name for entry in LEGACY}
    | {name for cls in CLASSES.values() for name in cls.config_model.env_names}
)


@pytest.fixture(scope="module")
def readme(tree: Path) -> str:
    return (tree / "README.md").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_tells_every_command(readme: str, command: str) -> None:
    assert re.search(rf"^\| `{command}\b", readme, re.MULTILINE)


def test_the_readme_tells_every_make_target(readme: str, tree: Path) -> None:
    targets = re.findall(r"^([a-z]+):.*##", (tree / "Makefile").read_text(), re.MULTILINE)
    assert {"run", "test", "bench", "lint", "boards", "lock", "clean", "help"} == set(targets)
    assert [target for target in targets if f"make {target}" not in readme] == []


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_readme_has_a_row_for_every_collector(readme: str, name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", readme, re.MULTILINE)


@pytest.mark.parametrize("name", VARIABLES)
def test_the_readme_tells_every_variable_of_replaced_systems(readme: str, name: str) -> None:
    assert f"`{name}`" in readme


def test_the_metric_list_is_current(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["metrics", "--format", "markdown"])
    table = capsys.readouterr().out
    written = (tree / "deploy" / "metrics.md").read_text()
    assert written.endswith(table), (
        "run: ci-exporter metrics --format markdown, and put it into deploy/metrics.md"
    )


def test_the_readme_links_to_the_metric_list_and_nothing_that_is_missing(readme: str, tree: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", readme) if "://" not in link]
    assert "deploy/metrics.md" in links
    assert [link for link in links if link and not (tree / link).exists()] == []


def test_the_readme_names_no_metric_that_does_not_exist(readme: str) -> None:
    assert _unknown(readme) == set()


@pytest.mark.parametrize("name", ["rules.yaml", "rules_test.yaml", "rules_weeks_test.yaml"])
def test_the_rules_use_metrics_that_exist(tree: Path, name: str) -> None:
    assert _unknown((tree / "deploy" / "prometheus" / name).read_text()) == set()


def test_the_rules_use_labels_that_their_metrics_have(tree: Path) -> None:
    text = (tree / "deploy" / "prometheus" / "rules.yaml").read_text()
    wrong = set()
    for metric, selector in re.findall(r"(?<![\w:])(ci_\w+)\{([^}]*)\}", text):
        family = FAMILIES[re.sub(r"_(bucket|sum|count)$", "", metric)]
        wrong |= {
            (metric, label) for label in re.findall(r"(\w+)\s*[=!]", selector) if label not in family.labels
        }
    assert wrong == set()


def test_every_alert_is_tested(tree: Path) -> None:
    folder = tree / "deploy" / "prometheus"
    groups = yaml.safe_load((folder / "rules.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    files = [yaml.safe_load(path.read_text()) for path in folder.glob("rules_*test.yaml")]
    cases = [case for file in files for test in file["tests"] for case in test.get("alert_rule_test", ())]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts


def test_the_changelog_begins_with_this_version_or_what_is_to_come(tree: Path) -> None:
    first = re.search(r"^## \[?(Unreleased|0\.1\.0)\b", (tree / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first


def _unknown(text: str) -> set[str]:
    """Names in *text* that look like one of our metrics and are none."""
    known = set(FAMILIES) | {
        f"{name}_{part}" for name in FAMILIES for part in ("bucket", "sum", "count") if FAMILIES[name].buckets
    }
    # A recorded series (level:metric:operation) names its metric without what the operation took away.
    plain = {name.removesuffix("_total") for name in known} | {"ci_exporter"} | set(Trouble)
    found = re.findall(r"(?<![\w.:/-])ci_[a-z_]+[a-z](?![\w:/.-]|\.)", text)
    return set(found) - known - plain
