"""Faults that can be switched on while the stand-in runs: rules that spoil answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from collectors._standin.times import dice

KINDS = frozenset(
    {
        "status",
        "hang",
        "drop",
        "cut",
        "truncated_json",
        "wrong_shape",
        "html",
        "same_page",
        "redirect",
        "slow",
    }
)
SHAPES = frozenset({"object", "null", "string", "string_ids"})
_HTML = b"<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>"


@dataclass(slots=True)
class Reply:
    """Bytes to send and how: after ``delay`` seconds; ``declared`` is a false Content-Length, if any.

    ``body`` of a dropped reply is never sent: the connection closes without an answer.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    delay: float = 0.0
    declared: int | None = None
    dropped: bool = False

    def set_header(self, name: str, value: str) -> None:
        """Put *value* in place of what *name* was."""
        self.headers = [(key, old) for key, old in self.headers if key.lower() != name.lower()]
        self.headers.append((name, value))


@dataclass(slots=True)
class Rule:
    """When and how to spoil: requests whose target matches ``path``, at most ``count`` times.

    The first ``skip`` matches pass; of the others a share of ``probability`` is spoiled. ``count`` is
    ``None`` for no end.
    """

    kind: str
    path: re.Pattern[str]
    count: int | None = None
    skip: int = 0
    probability: float = 1.0
    seconds: float = 0.0
    status: int = 500
    retry_after: int | None = None
    shape: str = "object"
    location: str = ""
    body: str | None = None
    hits: int = 0

    def as_json(self) -> dict[str, Any]:
        """What the rule says and how often it struck."""
        return {"kind": self.kind, "path": self.path.pattern, "count": self.count, "hits": self.hits}


@dataclass(slots=True)
class Faults:
    """All rules in force; the first that matches a request spoils it."""

    latency: float = 0.0
    rules: list[Rule] = field(default_factory=list)
    chance: Random = field(default_factory=lambda: dice(0))

    def replace(self, entries: Iterable[dict[str, Any]]) -> None:
        """Put the rules of *entries* in force instead of all others.

        Raises:
            ValueError: an unknown kind, shape, key or pattern.
        """
        self.rules = [_rule(dict(entry)) for entry in entries]

    def match(self, target: str) -> Rule | None:
        """The rule that spoils a request to *target* (path and query), if any."""
        for rule in self.rules:
            if rule.count is not None and rule.hits >= rule.count:
                continue
            if not rule.path.search(target):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            if rule.probability >= 1 or self.chance.random() < rule.probability:
                rule.hits += 1
                return rule
        return None


def _rule(entry: dict[str, Any]) -> Rule:
    try:
        entry["path"] = re.compile(entry.pop("path", ""))
        entry["seconds"] = entry.get("seconds", 0.0) + entry.pop("ms", 0) / 1000
        rule = Rule(**entry)
    except (TypeError, re.error) as error:
        raise ValueError(str(error)) from None
    if rule.kind not in KINDS or rule.shape not in SHAPES:
        raise ValueError(f"kinds: {sorted(KINDS)}, shapes: {sorted(SHAPES)}")
    return rule


def spoil(reply: Reply, rule: Rule) -> Reply:
    """*reply* as *rule* wants it; ``same_page`` is done where pages are made."""
    if rule.kind in ("hang", "slow"):
        reply.delay += rule.seconds
    elif rule.kind == "drop":
        reply.dropped = True
    elif rule.kind == "cut":
        reply.declared = len(reply.body)
        reply.body = reply.body[: len(reply.body) // 2]
    elif rule.kind == "truncated_json":
        reply.body = reply.body[: len(reply.body) // 2]
    elif rule.kind == "html":
        reply.body = _HTML
        reply.set_header("Content-Type", "text/html; charset=utf-8")
    elif rule.kind == "wrong_shape":
        reply.body = _misshape(reply.body, rule.shape)
    else:
        _refuse(reply, rule)
    return reply


def _refuse(reply: Reply, rule: Rule) -> None:
    if rule.kind == "redirect":
        reply.status = 302
        reply.set_header("Location", rule.location)
        return
    if rule.kind != "status":
        return
    reply.status = rule.status
    reply.headers = [("Content-Type", "application/json")]
    reply.body = (rule.body if rule.body is not None else _message(rule.status)).encode()
    if rule.retry_after is not None:
        reply.set_header("Retry-After", str(rule.retry_after))
    if rule.status == 429 or rule.status >= 500:
        reply.set_header("Content-Type", "text/plain" if rule.status == 429 else "text/html")


_MESSAGES = {401: "401 Unauthorized", 403: "403 Forbidden", 404: "404 Not found"}


def _message(status: int) -> str:
    if status == 429:
        return "Retry later\n"
    if status >= 500:
        return f"<html><head><title>{status}</title></head><body>The server is not responding</body></html>"
    return json.dumps({"message": _MESSAGES.get(status, str(status))})


def _misshape(body: bytes, shape: str) -> bytes:
    if shape == "null":
        return b"null"
    if shape == "string":
        return b'"unexpected"'
    if shape == "object":
        return b'{"unexpected":true}'
    return json.dumps(_with_string_ids(json.loads(body))).encode()


def _with_string_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_string_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: str(item) if key in ("id", "project_id") and isinstance(item, int) else _with_string_ids(item)
        for key, item in value.items()
    }
