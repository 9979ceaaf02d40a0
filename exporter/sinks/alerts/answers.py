"""What receivers of messages answered, as a person may read it: short, on one line, without secrets."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

from exporter import logs

_SHOWN = 200
_MOST_SECONDS = 3600.0


def shown(text: str) -> str:
    """*text* on one line, its begin if it is long; registered secrets are hidden."""
    line = " ".join(text.split())
    hidden = str(logs.redact(line))
    return f"{hidden[:_SHOWN]}…" if len(hidden) > _SHOWN else hidden or "(nothing)"


def without_secrets(error: Exception) -> str:
    """Why a request failed, for the end of a sentence; requests' own texts repeat the URL with its token."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "cannot be reached in time"
    if isinstance(error, requests.exceptions.Timeout):
        return "does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "cannot be trusted: its TLS certificate is not valid, or not of a known authority"
    if isinstance(error, requests.exceptions.ProxyError):
        return "cannot be reached: the proxy in the environment does not work"
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"cannot be reached: {_cause(error)}"
    return f"cannot be asked ({type(error).__name__})"


def _cause(error: BaseException) -> str:
    """What the operating system said at last, which names no URL."""
    waiting: list[BaseException] = [error]
    seen: dict[int, BaseException] = {}
    while waiting:
        one = waiting.pop(0)
        if id(one) not in seen:
            seen[id(one)] = one
            inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
            waiting += [each for each in inner if isinstance(each, BaseException)]
    named = [str(one.strerror) for one in seen.values() if isinstance(one, OSError) and one.strerror]
    return named[-1] if named else "the connection was closed"


def retry_after_seconds(answer: requests.Response, now: datetime) -> float | None:
    """How long the receiver wants to be left alone, an hour at most; ``None`` if it does not say."""
    text = answer.headers.get("Retry-After", "").strip()
    seconds: float | None = None
    with suppress(ValueError):
        seconds = float(text)
    if seconds is None and text:
        with suppress(ValueError):
            at = parsedate_to_datetime(text)
            seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    if seconds is None or not seconds > 0:
        return None
    return min(seconds, _MOST_SECONDS)
