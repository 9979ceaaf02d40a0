"""Pre-rendered exposition: placeholder until its own commit."""

from __future__ import annotations

from enum import Enum


class Format(Enum):
    """A text format that Prometheus reads, with its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
