"""What is asked and answered: query parameters, replies, refusals."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from collectors._standin.times import parse

_TRUE, _FALSE = ("true", "1", "yes", "on", "t"), ("false", "0", "no", "off", "f", "")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


class Refusal(Exception):
    """An answer other than 200: status, JSON body and extra headers."""

    def __init__(self, status: int, body: object, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, tuple(headers)


@dataclass(slots=True)
class Answer:
    """What goes back: a JSON value, or ready bytes of another ``content_type``."""

    body: Any
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    content_type: str = "application/json"


class Query:
    """The parameters of one request; ``url`` is its absolute URL without them."""

    def __init__(self, url: str, raw: str, fixed: dict[str, str] | None = None) -> None:
        self.url = url
        self.raw = raw
        self.fixed = fixed or {}
        self.many: dict[str, list[str]] = {}
        for key, value in parse_qsl(raw, keep_blank_values=True):
            self.many.setdefault(key, []).append(value)

    def text(self, name: str) -> str | None:
        """The last value given, ``None`` when absent or empty."""
        return (self.many[name][-1] or None) if name in self.many else None

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """One of *allowed*."""
        value = self.text(name)
        if value is None:
            return default
        if value not in allowed:
            raise Refusal(400, {"error": f"{name} does not have a valid value"})
        return value

    def choices(self, name: str, allowed: Collection[str]) -> set[str] | None:
        """Values of ``name[]`` (or ``name``), ``None`` when not given."""
        if f"{name}[]" not in self.many and name not in self.many:
            return None
        values = set(self.many.get(f"{name}[]", ())) | set(self.many.get(name, ()))
        if not values <= set(allowed):
            raise Refusal(400, {"error": f"{name} does not have a valid value"})
        return values

    def flag(self, name: str) -> bool | None:
        """A boolean, ``None`` when not given."""
        value = self.text(name)
        if value is None:
            return None
        if value.lower() not in _TRUE + _FALSE:
            raise Refusal(400, {"error": f"{name} is invalid"})
        return value.lower() in _TRUE

    def number(self, name: str, default: int, least: int = 0) -> int:
        """A whole number of at least *least*."""
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"-?\d{1,18}", value):
            raise Refusal(400, {"error": f"{name} is invalid"})
        if int(value) < least:
            raise Refusal(400, {"error": f"{name} does not have a valid value"})
        return int(value)

    def moment(self, name: str) -> int | None:
        """A time in milliseconds since 1970; a bare ``+`` has become a space and is refused."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError:
            raise Refusal(400, {"error": f"{name} is invalid"}) from None

    @property
    def per_page(self) -> int:
        """Rows per page, at most 100."""
        return min(100, self.number("per_page", 20, 1))

    def link(self, **changed: object) -> str:
        """This URL with some parameters changed, those of the path repeated as GitLab does."""
        pairs = dict(self.fixed)
        lists = [(key, value) for key, values in self.many.items() if key.endswith("[]") for value in values]
        pairs |= {key: values[-1] for key, values in self.many.items() if not key.endswith("[]")}
        pairs |= {key: str(value) for key, value in changed.items()}
        return f"{self.url}?{urlencode([*sorted(pairs.items()), *lists])}"
