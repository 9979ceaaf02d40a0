"""The machines that run jobs."""

from __future__ import annotations

from enum import StrEnum


class RunnerType(StrEnum):
    """Whom a runner works for; a label value."""

    INSTANCE = "instance"
    GROUP = "group"
    PROJECT = "project"
    UNKNOWN = "unknown"
