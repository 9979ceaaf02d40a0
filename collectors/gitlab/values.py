"""Values of GitLab's JSON are read as those of any source."""

from collectors._values import (
    Json,
    instant,
    instant_or_none,
    integer,
    json_object,
    parse_instant,
    ratio,
    seconds,
    text,
    text_or_empty,
)

__all__ = [
    "Json",
    "instant",
    "instant_or_none",
    "integer",
    "json_object",
    "parse_instant",
    "ratio",
    "seconds",
    "text",
    "text_or_empty",
]
