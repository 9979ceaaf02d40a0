"""Alertmanager as a channel: what is posted to it, and what a real one makes of that."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from pydantic import SecretStr

from exporter.clock import FixedClock
from exporter.config.channels import AlertmanagerSettings, ChannelSettings
from exporter.config.secrets import SecretUrl
from exporter.errors import SinkError
from exporter.model.alerts import Alert, NoticeKind
from exporter.sinks.alerts.alertmanager import AlertmanagerChannel
from exporter.sinks.alerts.channels import build_channels, sample_notice
from tests.exporter.sinks.alerts.conftest import make_alert, make_notice
from tests.support.fakes import NOW
from tests.support.process import PATIENCE, wait_until
from tests.support.prometheus import Alertmanager
from tests.support.receivers import Answer, Services


def channel(address: str, **settings: Any) -> AlertmanagerChannel:
    mine = AlertmanagerSettings(url=SecretUrl(f"http://{address}"), **settings)
    return AlertmanagerChannel("am", ChannelSettings(alertmanager=mine), "1.2", FixedClock(NOW))


def posted(services: Services, alert: Alert, kind: NoticeKind = NoticeKind.FIRING, **settings: Any) -> Any:
    channel(services.address, **settings).send(make_notice(kind=kind, alerts=(alert,)))
    ((one,),) = [request.json for request in services.requests]
    return one


def test_an_alert_is_posted_as_the_api_wants_it(services: Services) -> None:
    assert posted(services, make_alert()) == {
        "labels": {
            "alertname": "run_failed",
            "severity": "critical",
            "provider": "gitlab",
            "project": "acme/app",
            "ref": "main",
        },
        "annotations": {"summary": "acme/app: main is broken", "description": "unit failed: script_failure"},
        "startsAt": "2026-03-01T11:55:00+00:00",
        "endsAt": "2026-03-01T12:04:00+00:00",
        "generatorURL": "https://gitlab.example.com/acme/app/-/pipelines/1",
    }
    (request,) = services.requests
    assert (request.method, request.path) == ("POST", "/api/v2/alerts")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "ci-exporter/1.2"


def test_one_that_stands_ends_when_four_reminders_are_missed(services: Services) -> None:
    one = posted(services, make_alert(), NoticeKind.REPEATED, resend_interval_seconds=300)
    assert one["endsAt"] == "2026-03-01T12:20:00+00:00"
    assert channel(services.address, resend_interval_seconds=300).resend_seconds == 300


def test_one_that_tells_of_a_moment_stands_for_some_minutes(services: Services) -> None:
    assert posted(services, make_alert(momentary=True))["endsAt"] == "2026-03-01T12:05:00+00:00"


def test_one_that_is_over_ends_when_it_did(services: Services) -> None:
    one = posted(services, make_alert(resolved_at=NOW - timedelta(minutes=1)), NoticeKind.RESOLVED)
    assert one["endsAt"] == "2026-03-01T11:59:00+00:00"


def test_one_never_ends_before_it_began(services: Services) -> None:
    one = posted(services, make_alert(started_at=NOW, resolved_at=NOW - timedelta(minutes=1)))
    assert one["startsAt"] == one["endsAt"] == "2026-03-01T11:59:00+00:00"


def test_labels_have_names_that_every_version_takes_and_empty_ones_are_left_out(services: Services) -> None:
    one = posted(services, make_alert(labels={"ref-kind": "branch", "1st": "x", "ref": "", "alertname": "y"}))
    assert one["labels"] == {
        "alertname": "run_failed",
        "severity": "critical",
        "ref_kind": "branch",
        "_1st": "x",
    }


def test_only_an_address_of_the_web_becomes_a_link(services: Services) -> None:
    assert "generatorURL" not in posted(services, make_alert(url="javascript:alert(1)"))


def test_a_path_prefix_stays(services: Services) -> None:
    channel(f"{services.address}/alerts/").send(make_notice())
    assert services.requests[0].path == "/alerts/api/v2/alerts"


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~/.netrc that knows the receiver by another user."""
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login other password other\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"token": "t0ken"}, "Bearer t0ken"),
        (
            {"username": "ci", "password": "pässword"},
            f"Basic {base64.b64encode('ci:pässword'.encode()).decode()}",
        ),
    ],
)
def test_it_says_who_asks(services: Services, settings: dict[str, Any], header: str) -> None:
    for key in ("token", "password"):
        if key in settings:
            settings = settings | {key: SecretStr(settings[key])}
    channel(services.address, **settings).send(make_notice())
    assert services.requests[0].headers["authorization"] == header


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(400, True), (413, True), (401, False), (404, False), (429, False), (503, False)],
)
def test_a_refusal_is_told_with_what_was_answered(services: Services, status: int, permanent: bool) -> None:
    services.answer = lambda _request: Answer(status, b"no\nthanks", {"Retry-After": "17"})
    with pytest.raises(SinkError) as raised:
        channel(services.address).send(make_notice())
    assert str(raised.value) == f"Alertmanager answered {status}: no thanks"
    assert (raised.value.permanent, raised.value.retry_after) == (permanent, 17)


def test_a_redirect_is_no_success(services: Services) -> None:
    services.answer = lambda _request: Answer(302, b"", {"Location": f"http://{services.address}/login"})
    with pytest.raises(SinkError, match="answered 302"):
        channel(services.address).send(make_notice())
    assert len(services.requests) == 1


def test_tls_is_checked_against_the_authority_that_was_configured(services: Services, tmp_path: Path) -> None:
    ca_file = Path(services.environment["REQUESTS_CA_BUNDLE"])
    mine = {"url": SecretUrl("https://alerts.example.com")}
    other = tmp_path / "other.pem"
    other.write_text(requests.certs.where() and Path(requests.certs.where()).read_text())
    for file, works in ((ca_file, True), (other, False), (tmp_path / "missing.pem", False)):
        settings = ChannelSettings(alertmanager=AlertmanagerSettings(**mine, ca_file=file))  # type: ignore[arg-type]
        one = build_channels({"am": settings})["am"]
        if works:
            one.send(make_notice())
        else:
            with pytest.raises(SinkError, match=r"^Alertmanager cannot be (trusted|asked)"):
                one.send(make_notice())
    assert [request.host for request in services.requests] == ["alerts.example.com"]


# -- a real one ----------------------------------------------------------------------------------


@pytest.fixture
def alertmanager(services: Services, tmp_path: Path) -> Iterator[Alertmanager]:
    """A real Alertmanager that groups by rule, and tells *services* at once."""
    path = tmp_path / "alertmanager.yml"
    receiver = {"name": "team", "webhook_configs": [{"url": f"http://{services.address}/told"}]}
    quick = {"group_wait": "10ms", "group_interval": "100ms", "repeat_interval": "1h"}
    route = {"receiver": "team", "group_by": ["alertname"], **quick}
    path.write_text(yaml.safe_dump({"route": route, "receivers": [receiver]}))
    with Alertmanager(tmp_path, path) as found:
        wait_until(lambda: _answers(found), "Alertmanager answers")
        yield found


def _answers(found: Alertmanager) -> bool:
    try:
        return requests.get(f"http://{found.address}/-/ready", timeout=PATIENCE).ok
    except requests.RequestException:
        return False


def _standing(**facts: Any) -> Alert:
    return make_alert(**({"started_at": datetime.now(UTC) - timedelta(minutes=5)} | facts))


def _real(found: Alertmanager) -> Any:
    mine = AlertmanagerSettings(url=SecretUrl(f"http://{found.address}"))
    return build_channels({"am": ChannelSettings(alertmanager=mine)})["am"]


def _told(services: Services) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in list(services.requests) if request.path == "/told"]


def test_alerts_fire_in_a_real_alertmanager_in_one_group_and_their_end_is_told(
    alertmanager: Alertmanager, services: Services
) -> None:
    one = _standing(labels={"project": "acme/app", "ref": "main"})
    two = _standing(labels={"project": "acme/lib", "ref": "main"})
    _real(alertmanager).send(make_notice(alerts=(one, two)))
    wait_until(lambda: len(alertmanager.alerts("run_failed")) == 2, "both fire")
    wait_until(lambda: bool(_told(services)), "the team is told")
    (message,) = _told(services)[:1]
    assert message["status"] == "firing"
    assert message["groupLabels"] == {"alertname": "run_failed"}
    assert {alert["labels"]["project"] for alert in message["alerts"]} == {"acme/app", "acme/lib"}
    assert {alert["generatorURL"] for alert in message["alerts"]} == {one.url}

    ended = datetime.now(UTC)
    over = tuple(
        _standing(labels=each.labels, started_at=each.started_at, resolved_at=ended) for each in (one, two)
    )
    _real(alertmanager).send(make_notice(kind=NoticeKind.RESOLVED, alerts=over))
    wait_until(lambda: not alertmanager.alerts("run_failed"), "none fires")
    wait_until(lambda: _told(services)[-1]["status"] == "resolved", "the team is told the end")
    assert {alert["status"] for alert in _told(services)[-1]["alerts"]} == {"resolved"}


def test_a_repeat_is_no_second_alert(alertmanager: Alertmanager) -> None:
    for kind in (NoticeKind.FIRING, NoticeKind.REPEATED):
        _real(alertmanager).send(make_notice(kind=kind, alerts=(_standing(),)))
    wait_until(lambda: bool(alertmanager.alerts("run_failed")), "it fires")
    (alert,) = alertmanager.alerts("run_failed")
    ends = datetime.fromisoformat(alert["endsAt"].replace("Z", "+00:00"))
    assert timedelta(minutes=1) < ends - datetime.now(UTC) <= timedelta(minutes=4)


def test_a_sample_ends_by_itself(alertmanager: Alertmanager) -> None:
    _real(alertmanager).send(sample_notice("am", datetime.now(UTC)))
    wait_until(lambda: bool(alertmanager.alerts("ci_exporter_test")), "it is there")
    (alert,) = alertmanager.alerts("ci_exporter_test")
    ends = datetime.fromisoformat(alert["endsAt"].replace("Z", "+00:00"))
    assert ends - datetime.now(UTC) <= timedelta(minutes=1)
