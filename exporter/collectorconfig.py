"""What may be written about a collector: its block of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class CollectorConfig(BaseModel):
    """One block under ``collectors:``; a collector adds its own keys in a subclass.

    ``env_names`` maps environment variables of the system it replaces to its own keys (dotted where
    nested). Those in ``env_enables`` name the source to connect to: one of them alone creates the block, or
    all of those that stand there together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)
    env_names: ClassVar[Mapping[str, str]] = {}
    env_enables: ClassVar[frozenset[str | tuple[str, ...]]] = frozenset()

    enabled: bool = Field(default=True, description="whether this collector runs")


class PolledConfig(CollectorConfig):
    """The keys of every collector whose units are polled on an adaptive interval."""

    poll_interval_seconds: float = Field(
        default=30, gt=0, description="wait between two polls of a busy project"
    )
    poll_interval_max_seconds: float = Field(
        default=300, gt=0, description="idle projects back off up to here"
    )
    rediscover_interval_seconds: float = Field(
        default=1800, gt=0, description="how often the list of projects is read anew"
    )
    backfill_days: int = Field(
        default=0, ge=0, le=3650, description="days of history read when a project is first seen"
    )

    @field_validator("poll_interval_max_seconds")
    @classmethod
    def _not_below_the_interval(cls, value: float, info: ValidationInfo) -> float:
        # Runs only for a value somebody wrote: a longer interval may outgrow the default maximum.
        interval = info.data.get("poll_interval_seconds")
        if interval is not None and value < interval:
            raise ValueError(f"must be at least poll_interval_seconds, which is {interval:g}")
        return value
