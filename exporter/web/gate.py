"""What stands before the application when there is a web configuration: rate limit, passwords, headers."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.clock import Clock, SystemClock
from exporter.web.logins import Logins, TooManyLogins
from exporter.web.webconfig import RateLimit, WebConfig

CHALLENGE = 'Basic realm="ci-exporter", charset="UTF-8"'
_Header = tuple[bytes, bytes]


class Gate:
    """An application in front of *app* that lets through what *config* allows at that moment.

    The paths in *open_paths* are for probes: they need no password, and no rate limit counts or refuses
    them, since a refusal would end a healthy process. So it is below *open_folders*: whoever is asked there
    knows other proofs. Every answer carries the configured headers, in
    place of headers of *app* with the same name.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: Callable[[], WebConfig],
        open_paths: frozenset[str] = frozenset(),
        *,
        open_folders: tuple[str, ...] = (),
        clock: Clock | None = None,
    ) -> None:
        self._app = app
        self._config = config
        self._open_paths = open_paths
        self._open_folders = open_folders
        self._bucket = _Bucket(clock or SystemClock())
        self._logins = Logins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        config = self._config()
        answer = None if self._is_open(scope["path"]) else await self._refusal(config, scope)
        await (answer or self._app)(scope, receive, _adding(config, send))

    def _is_open(self, path: str) -> bool:
        return path in self._open_paths or path.startswith(self._open_folders)

    async def _refusal(self, config: WebConfig, scope: Scope) -> ASGIApp | None:
        """The answer for whom *config* does not let through, ``None`` for the others."""
        wait = self._bucket.take(config.rate_limit)
        if wait:
            return _too_many("too many requests", wait)
        if not config.users:
            return None
        login = _login(scope["headers"])
        try:
            if login and await self._logins.check(config.users, *login):
                return None
        except TooManyLogins:
            return _too_many("too many logins at once", 1)
        return _refused("a user name and a password are needed", 401, {"WWW-Authenticate": CHALLENGE})


class _Bucket:
    """A token bucket: full at first, one token more each interval, one less for each request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limit: RateLimit | None = None
        self._tokens = 0.0
        self._filled = 0.0

    def take(self, limit: RateLimit | None) -> float:
        """Seconds until a request may pass, 0 for one that may now; another *limit* begins anew."""
        now = self._clock.monotonic()
        if limit != self._limit:
            self._limit, self._filled = limit, now
            self._tokens = float(limit.burst) if limit else 0.0
        if limit is None:
            return 0.0
        self._tokens = min(limit.burst, self._tokens + (now - self._filled) / limit.interval_seconds)
        self._filled = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) * limit.interval_seconds


def _login(headers: list[_Header]) -> tuple[bytes, bytes] | None:
    """User and password as the client sent them, ``None`` without exactly one login that can be read."""
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, code = values[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(code.strip(b" "), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon else None


def _too_many(sentence: str, seconds: float) -> ASGIApp:
    return _refused(sentence, 429, {"Retry-After": str(max(1, math.ceil(seconds)))})


def _refused(sentence: str, status: int, headers: dict[str, str]) -> ASGIApp:
    return PlainTextResponse(f"{sentence}\n", status, {**headers, "X-Content-Type-Options": "nosniff"})


def _adding(config: WebConfig, send: Send) -> Send:
    """*send* with the configured headers in every answer."""
    if not config.headers:
        return send
    added = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in config.headers.items()]
    names = {name.lower() for name, _ in added}

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name.lower() not in names]
            message = {**message, "headers": [*kept, *added]}
        await send(message)

    return send_more
