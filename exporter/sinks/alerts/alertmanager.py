"""An Alertmanager as a channel: alerts go to its API v2, and it groups, silences and routes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import requests

from exporter import logs
from exporter.clock import Clock, SystemClock
from exporter.config.channels import ChannelSettings
from exporter.errors import SinkError
from exporter.model.alerts import Alert, Notice, NoticeKind
from exporter.sinks.alerts.answers import retry_after_seconds, shown, without_secrets
from exporter.sinks.alerts.channels import Channel

_TEST_SECONDS = 60
_RESENDS = 4  # so many times in a row may be missed: as Prometheus does it
_MOMENT_SECONDS = 300  # as long as Alertmanager itself lets one stand that it was told once
_NEVER_TAKEN = (400, 413, 422)


class AlertmanagerChannel(Channel):
    """Posts the alerts of a notice, not its text: Alertmanager makes messages of its own.

    It takes an alert for resolved that it was not told of for some time, and knows none after a restart. So
    it is told again of what stands, as Prometheus does it: each time with an end a few times farther away.
    """

    def __init__(
        self, name: str, settings: ChannelSettings, version: str = "", clock: Clock | None = None
    ) -> None:
        super().__init__(name, settings)
        mine = settings.alertmanager
        self._clock = clock or SystemClock()
        self._url = f"{mine.url.get_secret_value().rstrip('/')}/api/v2" if mine.url else ""
        self.resend_seconds = mine.resend_interval_seconds
        self._lasts = timedelta(seconds=_RESENDS * mine.resend_interval_seconds)
        self._verify: bool | str = str(mine.ca_file) if mine.ca_file else True
        self._headers = {"Content-Type": "application/json", "User-Agent": f"ci-exporter/{version or '0'}"}
        self._auth: Callable[[requests.PreparedRequest], requests.PreparedRequest] | None = None
        if mine.token:
            self._auth = _Bearer(mine.token.get_secret_value())
        elif mine.username and mine.password:
            # Bytes: requests would write text in Latin-1.
            login = mine.username.encode(), mine.password.get_secret_value().encode()
            self._auth = requests.auth.HTTPBasicAuth(*login)

    def send(self, notice: Notice) -> None:
        self._ask("POST", "alerts", json.dumps([self._posted(alert, notice.kind) for alert in notice.alerts]))

    def try_out(self) -> Iterator[str]:
        self._ask("GET", "status")
        yield "Alertmanager answers"

    def _ask(self, method: str, path: str, body: str = "") -> None:
        """Call its API.

        Raises:
            SinkError: it did not say that all is well.
        """
        try:
            answer = requests.request(
                method,
                f"{self._url}/{path}",
                data=body.encode(),
                headers=self._headers,
                auth=self._auth,
                verify=self._verify,
                timeout=self.settings.timeout_seconds,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise SinkError(f"Alertmanager {without_secrets(error)}") from None
        except (OSError, ValueError) as error:  # such as a CA file that is no longer there
            raise SinkError(f"Alertmanager cannot be asked: {logs.redact(str(error))}") from None
        if answer.status_code // 100 != 2:
            raise SinkError(
                f"Alertmanager answered {answer.status_code}: {shown(answer.text)}",
                retry_after=retry_after_seconds(answer, self._clock.now()),
                permanent=answer.status_code in _NEVER_TAKEN,
            )

    def _posted(self, alert: Alert, kind: NoticeKind) -> dict[str, Any]:
        """*alert* as Alertmanager's API v2 takes it."""
        labels = {_label(name): value for name, value in alert.labels.items() if value}
        end = self._end(alert, kind)
        posted: dict[str, Any] = {
            "labels": {**labels, "alertname": alert.rule, "severity": alert.severity.value},
            "annotations": {"summary": alert.title, "description": alert.text},
            # Where the clock of a forge is ahead: the end that we say counts, or it would stand until then.
            "startsAt": _text(min(alert.started_at, end)),
            "endsAt": _text(end),
        }
        if alert.url.startswith(("http://", "https://")):
            posted["generatorURL"] = alert.url
        return posted

    def _end(self, alert: Alert, kind: NoticeKind) -> datetime:
        now = self._clock.now()
        if alert.resolved_at is not None or kind is NoticeKind.RESOLVED:
            return alert.resolved_at or now
        if kind is NoticeKind.TEST:
            return now + timedelta(seconds=_TEST_SECONDS)
        return now + (timedelta(seconds=_MOMENT_SECONDS) if alert.momentary else self._lasts)


class _Bearer(requests.auth.AuthBase):
    """A token in the Authorization header; as ``auth``, so that no ~/.netrc replaces it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _label(name: str) -> str:
    """*name* as every version of Alertmanager takes it."""
    return re.sub(r"^(?=\d)|[^A-Za-z0-9_]", "_", name)


def _text(instant: datetime) -> str:
    return instant.isoformat()
