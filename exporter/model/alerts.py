"""What people are told: alerts that stand, and the messages about them, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


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
    ``momentary`` tells of something that happened, and of whose end nobody will hear.
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
    momentary: bool = False


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


class Told(StrEnum):
    """What people heard last about an alert."""

    NOTHING = "nothing"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class AlertState:
    """An alert as it is kept from one start of the program to the next.

    Identity: ``fingerprint``. ``definition`` is a hash of what the rule looks for: an alert of another one
    is not its own any more. ``about`` is what the rule needs to know of it, as JSON. ``started_at`` is since
    when it is wrong, ``changed_at`` when it was noticed that it began or ended, ``resolved_at`` is ``None``
    while it stands. ``flips`` are the moments of its last beginnings and ends; ``flapping`` holds from when
    they were too many until it is stable again, ``flapping_told`` once people know.
    """

    fingerprint: str
    rule: str
    definition: str
    labels: Mapping[str, str]
    about: Mapping[str, Any]
    started_at: datetime
    changed_at: datetime
    resolved_at: datetime | None = None
    told: Told = Told.NOTHING
    told_at: datetime | None = None
    flips: tuple[datetime, ...] = ()
    flapping: bool = False
    flapping_told: bool = False

    @property
    def stands(self) -> bool:
        """Whether it is wrong still."""
        return self.resolved_at is None
