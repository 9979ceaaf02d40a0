"""What may stand under ``hooks``: whether sources may tell us what happened, and how much may wait."""

from __future__ import annotations

from pydantic import Field

from exporter.config.address import Addresses
from exporter.config.section import Section


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
        default=500_000, ge=1, description="hooks that may wait to be read; further ones get a 503"
    )
    max_waiting_bytes: int = Field(
        default=1024**3, ge=1024, description="bytes of all that wait, above which further ones get a 503"
    )
