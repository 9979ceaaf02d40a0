"""What may stand under ``alerts.channels``: ways to reach people."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from exporter.config.secrets import SecretUrl
from exporter.config.section import Section


class ChannelSettings(Section):
    """One way to reach people."""

    url: SecretUrl | None = Field(default=None, description="where messages go, as apprise writes it")
    url_file: Path | None = Field(default=None, description="file that holds the url")
