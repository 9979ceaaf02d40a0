"""Rules of alerts as they are written: the example, and what is told when one is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from exporter.config.alerts import AlertsSettings
from exporter.config.load import load
from exporter.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"


def problems(folder: Path, alerts: str) -> list[str]:
    path = folder / "config.yaml"
    path.write_text(f"alerts:\n{alerts}")
    with pytest.raises(ConfigError) as caught:
        load(path, models={}, env={})
    return [f"{problem.key}: {problem.message}" for problem in caught.value.problems]


def test_the_rules_that_the_example_shows_are_rules() -> None:
    block = EXAMPLE.read_text().partition("\nalerts:")[2]
    assert "\n  # quiet_hours:\n" in block
    assert "\n  # rules:\n" in block
    shown = re.findall(r"^  # (?:quiet_hours:\n(?:  #   .*\n)+|rules:\n(?:  #   .*\n)+)", block, re.MULTILINE)
    text = re.sub(r"^  # ", "", "".join(shown), flags=re.MULTILINE)
    channels = {"team-chat": {"url": "json://host"}}
    settings = AlertsSettings.model_validate({"channels": channels, **yaml.safe_load(text)})
    kinds = {rule.kind for rule in settings.effective_rules}
    assert len(kinds) == len(settings.effective_rules) == 9
    assert settings.quiet_hours is not None


@pytest.mark.parametrize(
    ("alerts", "told"),
    [
        ("  rules: [{kind: run_faild, name: a}]", "'kind' must be one of: 'run_failed', 'branch_broken'"),
        ("  rules: [{name: a}]", "needs a key 'kind' that says what it is"),
        ("  rules: [{kind: rows, name: a, family: f}]", "needs above or below"),
        ("  rules: [{kind: run_stuck, name: a, times_p95: null}]", "needs longer_than_seconds or times_p95"),
        ("  rules: [{kind: run_failed, name: a, statuses: [success]}]", "must be some of failed, canceled"),
        ("  rules: [{kind: run_failed, name: a b}]", "must match the pattern"),
        (
            "  rules: [{kind: run_failed, name: a, channels: [x]}]",
            "names channels that do not exist: x (known: none)",
        ),
        ("  rules: [{kind: sink_failing, name: a}, {kind: sink_failing, name: a}]", "two rules are named a"),
        ('  quiet_hours: {from: "22:00", to: "7"}', 'must be a time of day in quotes, such as "22:00"'),
        ('  quiet_hours: {from: "22:00", to: "07:00", timezone: Europe/Pari}', "did you mean Europe/Paris?"),
    ],
)
def test_what_is_wrong_is_told_in_words(tmp_path: Path, alerts: str, told: str) -> None:
    (problem,) = problems(tmp_path, alerts)
    assert told in problem


def test_an_unknown_key_is_told_with_those_of_its_kind_of_rule(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "  rules: [{kind: sink_failing, name: a, sink: [x]}]")
    assert problem.startswith("alerts.rules.0.sink: unknown key; did you mean sinks?")
    assert "refs" not in problem
