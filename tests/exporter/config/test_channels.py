"""What may be written for a channel, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.channels import ChannelSettings
from exporter.config.load import Config, load
from exporter.errors import ConfigError


def read(tmp_path: Path, channel: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(f"alerts: {{channels: {{team: {channel}}}}}\n")
    return load(path, models={}, env={})


def settings(tmp_path: Path, channel: str) -> ChannelSettings:
    alerts = read(tmp_path, channel).settings.alerts
    assert alerts is not None
    return alerts.channels["team"]


def problem(tmp_path: Path, channel: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, channel)
    (one,) = raised.value.problems
    return f"{one.key}: {one.message}"


def test_a_url_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("slack://a/b/c\n")
    url = settings(tmp_path, "{url_file: url}").url
    assert url is not None
    assert url.get_secret_value() == "slack://a/b/c"


def test_a_url_may_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("alerts: {channels: {team: {per_minute: 5}}}\n")
    env = {"CI_EXPORTER__ALERTS__CHANNELS__TEAM__URL": "slack://a/b/c"}
    alerts = load(path, models={}, env=env).settings.alerts
    assert alerts is not None
    assert alerts.channels["team"].url is not None


def test_nothing_of_a_url_is_shown(tmp_path: Path) -> None:
    shown = str(read(tmp_path, "{url: 'slack://T1JJ3T3L2/A1BRTD4JD/token'}").redacted())
    assert "T1JJ3T3L2" not in shown
    assert "'url': '<secret>'" in shown


@pytest.mark.parametrize(
    ("channel", "says"),
    [
        ("{}", "alerts.channels.team: set exactly one of url, alertmanager.url and log"),
        (
            "{url: 'slack://a', alertmanager: {url: 'http://a'}}",
            "alerts.channels.team: set exactly one of url, alertmanager.url and log",
        ),
        (
            "{url: 'slack://a', log: true}",
            "alerts.channels.team: set exactly one of url, alertmanager.url and log",
        ),
        ("{log: false}", "alerts.channels.team: set exactly one of url, alertmanager.url and log"),
        ("{url: ''}", "alerts.channels.team: set exactly one of url, alertmanager.url and log"),
        (
            "{alertmanager: {url: 'http://a', token: abcd, username: x, password: yyyy}}",
            "alerts.channels.team.alertmanager: token and username are both set: keep one of them",
        ),
        (
            "{alertmanager: {url: 'http://a', username: x}}",
            "alerts.channels.team.alertmanager: username and password belong together: set both or none",
        ),
        (
            "{alertmanager: {url: 'a:9093'}}",
            "alerts.channels.team.alertmanager.url: must be an address such as http://127.0.0.1:9093",
        ),
        (
            "{alertmanager: {url: 'http://a', resend_interval_seconds: 0}}",
            "alerts.channels.team.alertmanager.resend_interval_seconds: must be at least 1",
        ),
        ("{url: 'slack://a', per_minute: 0}", "alerts.channels.team.per_minute: must be at least 1"),
    ],
)
def test_what_leads_nowhere_is_refused(tmp_path: Path, channel: str, says: str) -> None:
    assert problem(tmp_path, channel) == says
