"""What may stand under ``hooks``: whether sources may tell us what happened, and how much may wait."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from exporter.config.address import Addresses
from exporter.config.section import Section

MOST_HEADERS_BYTES = 8 * 1024
"""What the headers that are kept with a body may add to it."""


class HooksSettings(Section):
    """The endpoints ``POST /hooks/…``, and the queue behind them."""

    enabled: bool = Field(
        default=False,
        description="whether POST /hooks/… is answered, for each collector that has a secret for it",
    )
    addr: Addresses = Field(
        default=(),
        description="one address or a list that answers /hooks/… in place of metrics.addr; a process of its "
        "own does so then, and no round holds up an answer",
    )
    max_body_bytes: int = Field(
        default=25 * 1024 * 1024, ge=1024, le=1024**3, description="hooks that are larger get a 413"
    )
    max_waiting: int = Field(
        default=500_000,
        ge=1,
        description="hooks that may wait to be read; further ones get a 503; half of it is shared out, so "
        "that a flood for one collector leaves room for the others",
    )
    max_waiting_bytes: int = Field(
        default=1024**3, ge=1024, description="bytes of all that wait, above which further ones get a 503"
    )

    @model_validator(mode="after")
    def _the_largest_may_wait(self) -> Self:
        least = self.max_body_bytes + MOST_HEADERS_BYTES
        if self.enabled and self.max_waiting_bytes < least:
            raise ValueError(
                f"max_waiting_bytes must be at least {least} (max_body_bytes and {MOST_HEADERS_BYTES} for"
                " headers), or the largest hooks would never be accepted"
            )
        return self
