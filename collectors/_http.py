"""Calling a JSON API: rate limit, retries, deadlines, paging; knows no vendor."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from exporter.clock import Clock, timestamp
from exporter.contract import ApiObserver
from exporter.errors import BadAnswer, SourceError, Stopped, Unauthorized

log = logging.getLogger(__name__)

_ATTEMPTS = 3
_RETRY_SECONDS = 0.5
_CONNECT_SECONDS = 10
_BODY_BYTES = 64 * 1024 * 1024
_LONGEST_PAUSE_SECONDS = 60.0  # a source that wants to be left alone for longer gets its poll back later
_MAX_PAGES = 1_000
_RETRIED = {500, 502, 503, 504}


class RateLimiter:
    """Lets all threads of a collector together make at most so many calls a second.

    A call takes the next free slot and waits for it. Slots that nobody used in the last moment may be
    made up for, so that threads that were busy parsing do not cost throughput; over any second the
    rate holds, give or take that burst.
    """

    def __init__(self, per_second: float, stopping: threading.Event, *, burst_seconds: float = 0.2) -> None:
        self._gap = 1 / per_second
        self._burst = burst_seconds
        self._stopping = stopping
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Wait for the next slot; raises `Stopped` when the program stops meanwhile."""
        with self._lock:
            now = time.monotonic()
            slot = max(self._next, now - self._burst)
            self._next = slot + self._gap
        self._sleep(slot - now)

    def pause(self, seconds: float) -> None:
        """Let no call start for *seconds*."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and self._stopping.wait(seconds):
            raise Stopped("stopping")
        if self._stopping.is_set():
            raise Stopped("stopping")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the API: status, headers, and the parsed body (``None`` unless the status is 200)."""

    status: int
    headers: Mapping[str, str]
    body: Any
    next_url: str | None = None


class Credentials(requests.auth.AuthBase):
    """A bearer token; requests drops it by itself when a redirect leads to another host."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class ApiClient:
    """GETs JSON from one base URL, for several threads.

    Every call, repeated ones too, passes the rate limiter and is reported to the observer.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        limiter: RateLimiter,
        observer: ApiObserver,
        clock: Clock,
        stopping: threading.Event,
        timeout_seconds: float,
        user_agent: str,
        verify: bool | str = True,
        connections: int = 64,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.credentials = credentials
        self._host = urlsplit(base_url).hostname or base_url
        self._limiter = limiter
        self._observer = observer
        self._clock = clock
        self._stopping = stopping
        self._timeout = timeout_seconds
        self._session = requests.Session()
        self._session.auth = credentials
        self._session.verify = verify
        self._session.headers.update({"Accept": "application/json", "User-Agent": user_agent})
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def get(self, path: str, operation: str, params: Mapping[str, Any] | None = None) -> Answer:
        """GET *path* below the base URL (or an absolute URL of the same host).

        5xx answers, broken connections and bodies that do not parse are tried again shortly; a 429
        makes every thread wait as long as the source asks.

        Returns:
            The answer, for the statuses 200, 403 and 404.

        Raises:
            Unauthorized: 401. Other statuses, and no answer at all: `SourceError`.
        """
        url = path if path.startswith("http") else f"{self.base_url}/{path.lstrip('/')}"
        failure: SourceError | None = None
        for attempt in range(_ATTEMPTS):
            if attempt and self._stopping.wait(_RETRY_SECONDS * 2 ** (attempt - 1)):
                raise Stopped("stopping")
            self._limiter.wait()
            try:
                answer = self._once(url, operation, params)
            except SourceError as error:
                if error.permanent:
                    raise
                failure = error
                continue
            if answer is not None:
                return answer
            failure = SourceError(f"{self._host}: {operation} is rate limited", retry_after=1)
        raise failure or SourceError(f"{self._host}: {operation} failed")

    def _once(self, url: str, operation: str, params: Mapping[str, Any] | None) -> Answer | None:
        """One attempt; ``None`` after a 429 whose wait is now over or under way."""
        started = time.monotonic()
        code = "error"
        try:
            with self._session.get(
                url, params=params, timeout=(min(_CONNECT_SECONDS, self._timeout), self._timeout), stream=True
            ) as response:
                code = str(response.status_code)
                raw = self._read(response, started)
        except requests.RequestException as error:
            raise SourceError(f"{self._host}: {operation}: {_plain(error)}") from error
        finally:
            self._observer.request(operation, code, time.monotonic() - started)
        self._obey(response)
        return self._judge(response, raw, operation)

    def _read(self, response: requests.Response, started: float) -> bytes:
        """The body, unless it takes too long in all (a drip of bytes resets every socket timeout)."""
        chunks, size = [], 0
        for chunk in response.iter_content(65_536):
            chunks.append(chunk)
            size += len(chunk)
            if size > _BODY_BYTES:
                raise requests.RequestException(f"the answer is larger than {_BODY_BYTES} bytes")
            if time.monotonic() - started > self._timeout:
                raise requests.Timeout(f"the answer took longer than {self._timeout:g} s")
        return b"".join(chunks)

    def _judge(self, response: requests.Response, raw: bytes, operation: str) -> Answer | None:
        """What the status means."""
        status = response.status_code
        if status == 200:
            return Answer(status, response.headers, self._parse(raw, operation), _next_link(response))
        if status in (403, 404):
            return Answer(status, response.headers, None)
        if status == 401:
            raise Unauthorized(f"{self._host} refused the token (401)")
        if status == 429:
            wait = self._retry_after(response) or 1.0
            self._limiter.pause(wait)
            if wait > _LONGEST_PAUSE_SECONDS:
                raise _final(f"{self._host}: {operation} is rate limited (429)", wait)
            return None
        message = f"{self._host}: {operation} answered {status}"
        if status in _RETRIED:
            raise SourceError(message, retry_after=self._retry_after(response))
        raise _final(message, None)

    def _parse(self, raw: bytes, operation: str) -> Any:
        try:
            return json.loads(raw)
        except ValueError as error:
            raise BadAnswer(
                f"{self._host}: {operation} answered 200 with a body that is no JSON, or only a part of it"
            ) from error

    def _obey(self, response: requests.Response) -> None:
        """Report what is left of the allowance, and wait for the next one when it is used up."""
        remaining = _number(response.headers.get("RateLimit-Remaining"))
        if remaining is None:
            return
        self._observer.rate_limit_remaining(remaining)
        reset = _number(response.headers.get("RateLimit-Reset"))
        if remaining <= 0 and reset is not None:
            wait = reset - timestamp(self._clock.now()) if reset > 1e9 else reset
            self._limiter.pause(min(max(wait, 0.0), _LONGEST_PAUSE_SECONDS))

    def _retry_after(self, response: requests.Response) -> float | None:
        """The wait that the source asks for, in seconds: a number, or an HTTP date."""
        text = response.headers.get("Retry-After", "")
        seconds = _number(text)
        if seconds is not None:
            return max(0.0, seconds)
        try:
            return max(0.0, (parsedate_to_datetime(text) - self._clock.now()).total_seconds())
        except (TypeError, ValueError):
            return None

    def pages(self, path: str, operation: str, params: Mapping[str, Any]) -> Iterator[list[Any]]:
        """All pages of a list, by the source's own `Link: rel=next`; 403 and 404 raise `NotThere`."""
        answer = self.get(path, operation, params)
        for _ in range(_MAX_PAGES):
            if answer.status != 200:
                raise NotThere(f"{self._host}: {operation} answered {answer.status}", answer.status)
            yield expect_list(answer.body, operation)
            if answer.next_url is None:
                return
            answer = self.get(answer.next_url, operation)
        raise SourceError(f"{self._host}: {operation} does not end after {_MAX_PAGES} pages")

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()


class NotThere(SourceError):
    """The thing asked for is missing or hidden; ``status`` is 403 or 404."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, permanent=True)
        self.status = status


def expect_list(body: Any, operation: str) -> list[Any]:
    """*body* if it is a list, as documented."""
    if not isinstance(body, list):
        raise BadAnswer(f"{operation}: expected a list, got {type(body).__name__}")
    return body


def _final(message: str, retry_after: float | None) -> SourceError:
    """An error that is not tried again within this call, though a later poll may succeed."""
    return SourceError(message, retry_after=retry_after, permanent=True)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _next_link(response: requests.Response) -> str | None:
    """The next page, if there is one on the same host: a token must not follow a link elsewhere."""
    url = response.links.get("next", {}).get("url")
    if url and urlsplit(url).netloc == urlsplit(response.url).netloc:
        return url
    return None


def _plain(error: requests.RequestException) -> str:
    """What went wrong, without URLs: they may hold what a log should not."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS handshake failed (unknown certificate?)"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke in the middle of the answer"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
