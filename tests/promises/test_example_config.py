"""`config.example.yaml` loads as it is, tells every key, and tells each default as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config.describe import Described, describe_schema
from exporter.config.load import Config, load
from exporter.plugins import collector_classes

DIFFERS = {
    "metrics.enabled": True,
    "collectors.gitea.enabled": False,
    "collectors.gitea.token": "${GITEA_TOKEN:-}",
    "collectors.gitea_runners.enabled": False,
    "collectors.gitea_runners.token": "${GITEA_TOKEN:-}",
    "collectors.github_actions.enabled": False,
    "collectors.github_actions.token": "${GITHUB_TOKEN:-}",
    "collectors.github_runners.enabled": False,
    "collectors.github_runners.token": "${GITHUB_TOKEN:-}",
    "collectors.gitlab.token": "${GITLAB_TOKEN:-}",
    "collectors.gitlab_changes.enabled": False,
    "collectors.gitlab_changes.token": "${GITLAB_TOKEN:-}",
    "collectors.gitlab_deployments.enabled": False,
    "collectors.gitlab_deployments.token": "${GITLAB_TOKEN:-}",
    "collectors.gitlab_events.enabled": False,
    "collectors.gitlab_events.token": "${GITLAB_TOKEN:-}",
    "collectors.gitlab_runners.enabled": False,
    "collectors.gitlab_runners.token": "${GITLAB_TOKEN:-}",
    "collectors.gitlab_tests.enabled": False,
    "collectors.gitlab_tests.token": "${GITLAB_TOKEN:-}",
    "collectors.jenkins.enabled": False,
    "collectors.jenkins_nodes.enabled": False,
    "collectors.postgres.enabled": False,
    "collectors.reports.enabled": False,
    "collectors.postgres.databases": {"main"},
    "collectors.postgres.databases.<name>.dsn": "${DATABASE_URL:-}",
    "sinks.kafka.enabled": False,
    "sinks.kafka.bootstrap_servers": "localhost:9092",
    "sinks.kafka.topic": "ci-events",
    "sinks.kafka.redis.enabled": False,
    "sinks.kafka.redis.address": "localhost:6379",
}
MODELS = {name: cls.config_model for name, cls in collector_classes().items()}
KEYS = list(describe_schema(MODELS))
# Of what stands in lists, or under names of the operator's choice that nothing has by default.
_IN_COMMENTS = ("[]", "overlays.<name>", "alerts.channels.<name>", "quiet_hours.")
COMMENTED = [key for key in KEYS if any(part in key.key for part in _IN_COMMENTS)]
PLAIN = [key for key in KEYS if key not in COMMENTED]


@pytest.fixture(scope="module")
def text(tree: Path) -> str:
    return (tree / "config.example.yaml").read_text()


def _load(tree: Path, env: dict[str, str]) -> Config:
    return load(tree / "config.example.yaml", models=MODELS, env=env)


@pytest.fixture(scope="module")
def written(text: str) -> Any:
    """The file as YAML."""
    return yaml.safe_load(text)


def _at(value: Any, key: str) -> Any:
    for step in key.split("."):
        value = next(iter(value.values())) if step == "<name>" else value[step]
    return value


def test_it_loads_without_any_environment(tree: Path) -> None:
    config = _load(tree, {})
    off = {name for name in MODELS if DIFFERS.get(f"collectors.{name}.enabled") is False}
    assert set(config.collectors) == set(MODELS) - off
    assert config.settings.metrics.enabled


def test_it_takes_the_token_from_the_environment(tree: Path) -> None:
    block: Any = _load(tree, {"GITLAB_TOKEN": "glpat-1"}).collectors["gitlab"]
    assert block.token.get_secret_value() == "glpat-1"


def test_it_stays_loadable_with_the_list_entries_that_it_shows(tree: Path, text: str, tmp_path: Path) -> None:
    shown = re.sub(
        r"^    (groups: \[\]|organizations: \[\]|overlays: \{\}).*\n", "", text, flags=re.MULTILINE
    )
    shown = re.sub(r"^    # (groups:|organizations:|overlays:|  )", r"    \1", shown, flags=re.MULTILINE)
    path = tmp_path / "config.yaml"
    path.write_text(shown)
    block: Any = load(path, models=MODELS, env={}).collectors["gitlab"]
    assert [group.path for group in block.groups] == ["my-group"]


def test_it_stays_loadable_with_the_alerts_that_it_shows(text: str, tmp_path: Path) -> None:
    before, sign, alerts = text.partition("\nalerts:")
    alerts = re.sub(r"^  (channels: \{\}|rules: null|quiet_hours: null).*\n", "", alerts, flags=re.MULTILINE)
    alerts = re.sub(r"^  # (channels:|rules:|quiet_hours:|  )", r"  \1", alerts, flags=re.MULTILINE)
    path = tmp_path / "config.yaml"
    path.write_text(before + sign + alerts)
    found = load(path, models=MODELS, env={"CHAT_URL": "json://127.0.0.1:1"}).settings.alerts
    assert found is not None
    assert set(found.channels) == {"team-chat", "duty", "trial"}
    assert found.rules


@pytest.mark.parametrize("key", PLAIN, ids=lambda key: key.key)
def test_it_tells_every_key_with_its_default(written: Any, key: Described) -> None:
    told = _at(written, key.key)
    expected = DIFFERS.get(key.key, key.default)
    if isinstance(expected, set):
        told = set(told)
    assert (told if not isinstance(expected, list) or isinstance(told, list) else [told]) == expected


@pytest.mark.parametrize("key", COMMENTED, ids=lambda key: key.key)
def test_it_shows_the_keys_of_entries_in_a_comment(text: str, key: Described) -> None:
    assert re.search(rf"^ *#[ #-]+{key.key.rpartition('.')[2]}: .* # ", text, re.MULTILINE)


def test_every_key_is_explained(text: str) -> None:
    unexplained = [
        line
        for line in text.splitlines()
        if re.match(r" *[a-z_]+:", line) and "  # " not in line and " # " not in line
    ]
    assert unexplained == []
