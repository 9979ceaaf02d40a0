"""Channels are tried out: whoever cannot be reached is named with a remedy, and nobody is told anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from exporter.config.channels import AlertmanagerSettings, ChannelSettings
from exporter.config.secrets import SecretUrl
from exporter.errors import SinkError
from exporter.sinks.alerts.channels import build_channels
from tests.exporter.sinks.alerts.conftest import make_notice
from tests.support.process import run_here
from tests.support.receivers import Answer, MailServer, Services

NOWHERE = "127.0.0.1:1"  # a port that nobody may listen at without rights


def tried(url: str = "", **settings: Any) -> list[str]:
    chosen = ChannelSettings(url=SecretStr(url) if url else None, **settings)
    return list(build_channels({"team": chosen})["team"].try_out())


def refusal(url: str = "", **settings: Any) -> str:
    with pytest.raises(SinkError) as raised:
        tried(url, **settings)
    return str(raised.value)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("dingtalk://SECabc123def456@0a1b2c3d4e5f", "DingTalk at oapi.dingtalk.com answers"),
        ("wecombot://0a1b2c3d-4e5f", "WeCom Bot at qyapi.weixin.qq.com answers"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ci", "Slack at hooks.slack.com answers"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "Telegram at api.telegram.org answers"),
    ],
)
def test_a_service_is_asked_for_nothing_and_its_host_is_told(services: Services, url: str, line: str) -> None:
    assert tried(url) == [line]
    assert {(request.method, request.path, request.body) for request in services.requests} == {
        ("HEAD", "/", b"")
    }


def test_a_channel_that_was_tried_sends_afterwards(services: Services) -> None:
    chosen = ChannelSettings(url=SecretStr(f"json://{services.address}/secret"))
    channel = build_channels({"team": chosen})["team"]
    assert list(channel.try_out()) == [f"JSON at {services.address} answers"]
    channel.send(make_notice())
    assert [request.method for request in services.requests] == ["HEAD", "POST"]


def test_a_receiver_that_is_away_is_told_without_its_secret_path() -> None:
    assert refusal(f"json://{NOWHERE}/hooks/s3cret") == f"{NOWHERE} cannot be reached: Connection refused"


def test_what_speaks_no_http_is_not_tried() -> None:
    assert tried("irc://127.0.0.1:1/#ci") == [
        "IRC was not tried: ci-exporter notify test --channel team does"
    ]


def test_an_alertmanager_is_asked_how_it_is(services: Services) -> None:
    settings = AlertmanagerSettings(url=SecretUrl(f"http://{services.address}/am"), token=SecretStr("t0ken"))
    assert tried(alertmanager=settings) == ["Alertmanager answers"]
    (request,) = services.requests
    assert (request.method, request.path) == ("GET", "/am/api/v2/status")
    services.answer = lambda _request: Answer(401, b"who are you?")
    assert refusal(alertmanager=settings) == "Alertmanager answered 401: who are you?"


def test_a_mail_server_lets_us_in_and_gets_no_mail(tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        url = f"mailto://127.0.0.1:{server.port}?from=ci@example.com&to=a@example.com"
        assert tried(url) == [f"mail server 127.0.0.1:{server.port} lets us in"]
        assert server.mails == []
    said = refusal(url)
    assert said == f"mail server 127.0.0.1:{server.port} cannot be used: Connection refused"


def test_a_mail_server_that_refuses_the_password_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MailServer(tmp_path, login=("ci", "right-1")) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        url = f"mailtos://ci:{{}}@127.0.0.1:{server.port}?from=ci@example.com&to=a@example.com&mode=starttls"
        assert tried(url.format("right-1")) == [f"mail server 127.0.0.1:{server.port} lets us in"]
        said = refusal(url.format("wrong-22"))
        assert said.startswith(f"mail server 127.0.0.1:{server.port} refuses user name or password: 535")
        assert "wrong-22" not in said
        monkeypatch.delenv("SSL_CERT_FILE")
        assert "certificate verify failed" in refusal(url.format("right-1"))


def test_check_online_fails_with_each_channel_that_cannot_be_reached(
    tmp_path: Path, services: Services
) -> None:
    channels = {
        "duty": {"alertmanager": {"url": f"http://{NOWHERE}"}},
        "gone": {"url": f"json://{NOWHERE}/s3cret"},
        "log": {"log": True},
        "ours": {"url": f"json://{services.address}"},
    }
    file = tmp_path / "config.yaml"
    store = {"url": f"sqlite:///{tmp_path}/s.db"}
    file.write_text(yaml.safe_dump({"store": store, "alerts": {"channels": channels}}))
    done = run_here("check", "--online", "--config", str(file))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"alerts: channel ours: JSON at {services.address} answers",
        "alerts: failed: channel duty: Alertmanager cannot be reached: Connection refused;"
        " correct alerts.channels.duty, or see to its receiver",
        f"alerts: failed: channel gone: {NOWHERE} cannot be reached: Connection refused;"
        " correct alerts.channels.gone, or see to its receiver",
    ]
