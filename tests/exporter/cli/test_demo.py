"""The demo shows what it can: a source whose extra is not installed is named, not fatal."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.cli.demo import run_demo
from exporter.contract import DemoSource
from exporter.errors import ConfigError


class Missing:
    """A collector whose stand-in needs what is not there."""

    @classmethod
    def start_demo(cls, directory: Path) -> DemoSource:
        raise ConfigError("install ci-exporter[demo]")


def test_without_any_source_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing to show: sql: install ci-exporter\[demo\]"):
        run_demo(tmp_path / "demo", {"sql": Missing}, {})
    assert list((tmp_path / "demo").iterdir()) == []
