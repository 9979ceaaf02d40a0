"""Sending a report to the server: once, however often it takes."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from exporter import __version__
from exporter.errors import ConfigError, ExporterError

PATH = "/hooks/generic"
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 15.0  # seconds
_TRY_SECONDS = 10.0
_REASONS = {
    401: "the server does not accept the token",
    404: "the server accepts no reports: switch on hooks and collectors.reports there",
    413: "the report is larger than the server accepts",
}


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where reports go; the token is in no message."""

    url: str
    token: str
    ca_file: Path | None = None


class _Bearer(AuthBase):
    """As a header alone requests would put what a .netrc says in its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def endpoint(server: str) -> str:
    """The address to post to, from the address of the server.

    Raises:
        ConfigError: it is none.
    """
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ConfigError(
            "--server must be an address such as https://ci-exporter.example.com, without a password"
        )
    return server.rstrip("/").removesuffix(PATH) + PATH


def send(
    receiver: Receiver,
    report: Mapping[str, Any],
    key: str,
    *,
    wait_seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Have *report* accepted within *wait_seconds*; the server knows a repetition by *key*.

    Raises:
        ExporterError: it was not accepted; only what may pass was tried again.
    """
    until, wait = time.monotonic() + wait_seconds, _FIRST_WAIT
    body = json.dumps(report).encode()
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": key,
        "User-Agent": f"ci-exporter/{__version__}",
    }
    while True:
        left = max(0.5, until - time.monotonic())
        problem, asked = _try(receiver, body, headers, min(_TRY_SECONDS, left))
        if not problem:
            return
        pause = max(asked, wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter is no secret
        if time.monotonic() + pause >= until:
            raise ExporterError(f"not reported within {wait_seconds:g} s: {problem}")
        print(f"ci-exporter: {problem}; trying again in {pause:.0f} s", file=sys.stderr)
        sleep(pause)
        wait = min(wait * 2, _LONGEST_WAIT)


def _try(receiver: Receiver, body: bytes, headers: Mapping[str, str], seconds: float) -> tuple[str, float]:
    """``(what kept it from being accepted, seconds to wait)``; an empty text if nothing did.

    Raises:
        ExporterError: it never will be.
    """
    place = urlsplit(receiver.url).netloc
    try:
        answer = requests.post(
            receiver.url,
            data=body,
            headers=dict(headers),
            auth=_Bearer(receiver.token),
            timeout=seconds,
            allow_redirects=False,
            verify=str(receiver.ca_file) if receiver.ca_file else True,
        )
    except requests.exceptions.SSLError:
        raise ExporterError(f"the certificate of {place} is not trusted; see --ca-file") from None
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        return f"{place} does not answer ({type(error).__name__})", 0.0
    except (requests.exceptions.RequestException, ValueError, OSError) as error:
        raise ExporterError(f"{place} cannot be asked ({type(error).__name__})") from None
    if 200 <= answer.status_code < 300:
        return "", 0.0
    problem = f"{place} answered {answer.status_code}"
    if answer.status_code == 429 or answer.status_code >= 500:
        return problem, _retry_after(answer)
    raise ExporterError(
        f"{problem}: {_REASONS.get(answer.status_code, 'is this the address of ci-exporter?')}"
    )


def _retry_after(answer: requests.Response) -> float:
    """Seconds that the server asks to wait, 0 if it names none."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0.0
