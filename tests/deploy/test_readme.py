"""deploy/README.md names what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.support.deployment import CHART, DEPLOY, ROOT


@pytest.mark.parametrize("folder", [DEPLOY, CHART])
def test_every_link_leads_somewhere(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert len(links) >= 2
    assert [link for link in links if not (folder / link).exists()] == []


def test_each_way_is_told() -> None:
    text = (DEPLOY / "README.md").read_text()
    for name in ("systemd/", "Dockerfile", "compose.yaml", "helm/ci-exporter/", "kubernetes/"):
        assert f"({name}" in text


def test_the_steps_of_the_unit_are_those_of_the_readme() -> None:
    unit = (DEPLOY / "systemd" / "ci-exporter.service").read_text()
    text = (DEPLOY / "README.md").read_text()
    for step in re.findall(r"^#   (\S.*?)(?:  +#.*)?$", unit, re.MULTILINE):
        if not step.startswith(("IPAddress",)):
            assert step in text, step


def test_the_image_has_the_version_of_the_program() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for path in (DEPLOY / "README.md", DEPLOY / "Dockerfile"):
        assert set(re.findall(r"-t \S*ci-exporter:(\S+)", path.read_text())) == {version}
