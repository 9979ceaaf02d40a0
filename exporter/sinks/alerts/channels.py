"""Ways to reach people, built as the configuration says; what one needs is imported only for it."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import datetime

from exporter.config.channels import ChannelSettings
from exporter.errors import ConfigError, Problem
from exporter.model.alerts import Alert, Notice, NoticeKind, Severity


class Channel(ABC):
    """One way to reach people; ``name`` is the operator's, and the ``channel`` label's.

    ``resend_seconds``: how often it is told again of all that stands; ``None``: it forgets nothing.
    """

    resend_seconds: float | None = None

    def __init__(self, name: str, settings: ChannelSettings) -> None:
        self.name = name
        self.settings = settings

    @abstractmethod
    def send(self, notice: Notice) -> None:
        """Hand *notice* over; network I/O, from several threads if an attempt before hangs.

        Raises:
            SinkError: the receiver did not take it; the text names no secret.
        """

    def try_out(self) -> Iterator[str]:
        """Lines for ``check --online``: whether the receiver can be reached; it is told nothing.

        Raises:
            SinkError: it cannot.
        """
        return iter(())


def build_channels(settings: Mapping[str, ChannelSettings], version: str = "") -> dict[str, Channel]:
    """``name -> channel`` as *settings* want them; nothing is sent or connected.

    Raises:
        ConfigError: for every channel that cannot work as it is written.
    """
    built: dict[str, Channel] = {}
    problems: list[Problem] = []
    for name, one in settings.items():
        try:
            built[name] = _build(name, one, version)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return built


def _build(name: str, settings: ChannelSettings, version: str) -> Channel:
    if settings.log:
        from exporter.sinks.alerts.logged import LogChannel

        return LogChannel(name, settings)
    if settings.url is None:
        from exporter.sinks.alerts.alertmanager import AlertmanagerChannel

        return AlertmanagerChannel(name, settings, version)
    try:
        from exporter.sinks.alerts.apprising import AppriseChannel
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "apprise":
            raise
        raise ConfigError(
            [
                Problem(
                    f"alerts.channels.{name}.url",
                    'needs apprise, which is not installed: pip install "ci-exporter[notify]"',
                )
            ]
        ) from None
    return AppriseChannel(name, settings, version)


def sample_notice(channel: str, now: datetime) -> Notice:
    """What ``notify test`` sends over *channel*."""
    host = socket.gethostname()
    title = f"Test message of ci-exporter on {host}"
    text = "If you can read this, the channel works. Nothing is broken, and nothing needs to be done."
    alert = Alert(
        fingerprint=f"test-{channel}",
        rule="ci_exporter_test",
        severity=Severity.INFO,
        labels={"channel": channel},
        title=title,
        text=text,
        started_at=now,
    )
    return Notice(channel, NoticeKind.TEST, title, text, (alert,), now)
