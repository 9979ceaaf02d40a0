"""The demo shows what it can: a source whose extra is not installed is named, not fatal."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from exporter.app import App
from exporter.cli.demo import _begin, _welcome, hooks_url, run_demo
from exporter.contract import DemoSource
from exporter.errors import ConfigError
from exporter.serving import Serving


class Missing:
    """A collector whose stand-in needs what is not there."""

    @classmethod
    def start_demo(cls, directory: Path) -> DemoSource:
        raise ConfigError("install ci-exporter[demo]")


def test_without_any_source_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing to show: sql: install ci-exporter\[demo\]"):
        run_demo(tmp_path / "demo", {"sql": Missing}, {})
    assert list((tmp_path / "demo").iterdir()) == []


def test_the_visitor_is_told_where_a_unix_socket_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = Mock(App, serving=Mock(Serving, addresses=lambda: ["http://127.0.0.1:1", "unix:/run/m.sock"]))
    _welcome(app, [], [], tmp_path)
    told = capsys.readouterr().err
    assert "  metrics    http://127.0.0.1:1/metrics\n" in told
    assert "  metrics    /metrics, / and /-/ready on unix:/run/m.sock\n" in told


@pytest.mark.parametrize(
    ("addresses", "url"),
    [
        (["unix:/run/m.sock", "http://127.0.0.1:9101"], "http://127.0.0.1:9101/hooks/"),
        (["http://0.0.0.0:9101"], "http://127.0.0.1:9101/hooks/"),
        (["http://[::]:9101"], "http://[::1]:9101/hooks/"),
        (["https://127.0.0.1:9101", "http://192.0.2.1:9101"], ""),
        ([], ""),
    ],
)
def test_webhooks_are_sent_to_where_this_machine_reaches_the_demo(addresses: list[str], url: str) -> None:
    assert hooks_url(addresses) == url


def test_sources_that_can_send_webhooks_do_once_the_service_listens(tmp_path: Path) -> None:
    told: list[str] = []
    sources = [
        ("silent", DemoSource({}, "a source", ())),
        ("forge", DemoSource({}, "another", (), send_hooks=told.append)),
    ]
    listening = Mock(App, serving=Mock(Serving, addresses=lambda: ["http://127.0.0.1:1"]))
    _begin(listening, sources, [], tmp_path)
    assert told == ["http://127.0.0.1:1/hooks/"]
    _begin(Mock(App, serving=Mock(Serving, addresses=lambda: ["unix:/run/m.sock"])), sources, [], tmp_path)
    assert len(told) == 1
