"""What query files may say beyond sql_exporter's format, in the file or in the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Overlay(BaseModel):
    """Additions to one query file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
