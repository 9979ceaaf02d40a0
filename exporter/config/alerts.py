"""What may stand under ``alerts``: when people are told, what, and over which channels."""

from __future__ import annotations

from pydantic import Field

from exporter.config.channels import ChannelSettings
from exporter.config.section import Section


class AlertsSettings(Section):
    """Alerts to people."""

    enabled: bool = Field(default=True, description="whether rules are watched and people are told")
    channels: dict[str, ChannelSettings] = Field(
        default_factory=dict, description="ways to reach people, by name"
    )
