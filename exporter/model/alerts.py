"""What people are told: alerts that stand, and the messages about them, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Severity(StrEnum):
    """How soon somebody should look; a label value."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class NoticeKind(StrEnum):
    """Why people are told now."""

    FIRING = "firing"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is wrong, or was.

    Identity: ``fingerprint``, made of the rule and what it is about (``labels``: project, ref, job …).
    ``title`` is one line; ``text`` tells more, in plain lines. ``resolved_at`` is ``None`` while it stands.
    """

    fingerprint: str
    rule: str
    severity: Severity
    labels: Mapping[str, str]
    title: str
    text: str
    started_at: datetime
    resolved_at: datetime | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message for one channel, about one alert or a group of them.

    ``number`` is 0 before it is stored. ``attempts`` is how often it was tried in vain.
    """

    channel: str
    kind: NoticeKind
    title: str
    body: str
    alerts: tuple[Alert, ...]
    created_at: datetime
    number: int = 0
    attempts: int = 0
