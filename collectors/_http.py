"""Calling a JSON API: rate limit, retries, deadlines, paging; knows no vendor."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from collectors._credentials import Credentials
from collectors._rates import LONGEST_PAUSE_SECONDS, LONGEST_SILENCE_SECONDS, RateLimiter
from exporter.clock import Clock, timestamp
from exporter.contract import ApiObserver
from exporter.errors import BadAnswer, SourceError, Stopped, Unauthorized

_ATTEMPTS = 3
_CONNECT_SECONDS = 10
_BODY_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 65_536
_MAX_PAGES = 1_000
_MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the API: status, headers, and the parsed body (``None`` unless the status is 200 or 201).

    ``raw`` is the body as it came.
    """

    status: int
    headers: Mapping[str, str]
    body: Any
    next_url: str | None = None
    raw: bytes = b""

    @property
    def etag(self) -> str:
        """What a later question may be tied to; empty if the source gives none."""
        return self.headers.get("ETag", "")


class ApiClient:
    """GETs JSON from one base URL, or POSTs a question to it, for several threads.

    Every call, repeated and redirected ones too, passes the rate limiter and is reported to the
    observer. ``retry_seconds`` is the wait before the first repetition; it doubles.
    """

    retry_seconds = 0.5

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
        accept: str = "application/json",
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
        self._verify = verify
        self._session.headers.update({"Accept": accept, "User-Agent": user_agent})
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def get(
        self, path: str, operation: str, params: Mapping[str, Any] | None = None, *, etag: str = ""
    ) -> Answer:
        """GET *path* below the base URL (or an absolute URL of the same host).

        5xx answers, broken connections and bodies that do not parse are tried again shortly; a source
        that names a wait (with a 429, or a 403 that is one) makes every thread wait. A refused token is
        exchanged if there is another one. With an *etag*, the answer is a 304 without a body as long as
        nothing changed.

        Returns:
            The answer, for the statuses 200, 304, 403 and 404.

        Raises:
            Unauthorized: 401. Other statuses, and no answer at all: `SourceError`.
        """
        return self._call(path, operation, params, etag=etag)

    def post(self, path: str, operation: str, question: Mapping[str, Any]) -> Answer:
        """POST *question* as JSON; it must do no harm twice, for it is repeated as a :meth:`get` is."""
        return self._call(path, operation, None, question)

    def _call(
        self,
        path: str,
        operation: str,
        params: Mapping[str, Any] | None,
        question: Mapping[str, Any] | None = None,
        *,
        etag: str = "",
    ) -> Answer:
        url = path if path.startswith("http") else f"{self.base_url}/{path.lstrip('/')}"
        while True:
            token = self.credentials.token
            try:
                return self._tried(_Call(url, operation, params, question, etag))
            except Unauthorized:
                if not self.credentials.refuse(token):
                    raise

    def _tried(self, call: _Call) -> Answer:
        """The answer to one call, tried again where that may help."""
        failure = SourceError(f"{self._host}: {call.operation} failed")
        for attempt in range(_ATTEMPTS):
            if attempt and self._stopping.wait(self.retry_seconds * 2 ** (attempt - 1)):
                raise Stopped("stopping")
            try:
                return self._follow(call)
            except SourceError as error:
                if error.permanent:
                    raise
                failure = error
        raise failure

    def _follow(self, call: _Call) -> Answer:
        """One attempt, redirects within the host included."""
        for _ in range(_MAX_REDIRECTS):
            self._limiter.wait()
            response, raw = self._send(call)
            self._obey(response)
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not target:
                return self._judge(response, raw, call.operation)
            call = replace(call, url=self._redirected(response.url, target, call.operation), params=None)
        raise _final(f"{self._host}: {call.operation} is redirected in circles")

    def _redirected(self, url: str, target: str, operation: str) -> str:
        """Where a redirect leads, unless that is not ours to follow: the token is for one host alone."""
        try:
            absolute = urljoin(url, target)
            elsewhere = self._session.should_strip_auth(url, absolute)  # type: ignore[no-untyped-call]
        except ValueError:
            elsewhere = True
        if elsewhere:
            raise _final(
                f"{self._host}: {operation} is redirected to another host; the configured address is"
                " probably not the one under which the source knows itself"
            )
        return absolute

    def _send(self, call: _Call) -> tuple[requests.Response, bytes]:
        """One call: the response, and its body read to the end."""
        started = time.monotonic()
        code = "error"
        try:
            with self._session.request(
                "GET" if call.question is None else "POST",
                call.url,
                params=call.params,
                json=call.question,
                headers={"If-None-Match": call.etag} if call.etag else None,
                timeout=(min(_CONNECT_SECONDS, self._timeout), self._timeout),
                stream=True,
                allow_redirects=False,
                verify=self._verify,  # for each call: an environment variable would outrank the session's
            ) as response:
                code = str(response.status_code)
                return response, self._read(response, started)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise SourceError(f"{self._host}: {call.operation}: {_plain(error)}") from error
        except ValueError:
            # The text of such an error shows the header, and with it the token.
            raise _final(
                f"{self._host}: the token, or an address, cannot be sent in an HTTP header"
            ) from None
        finally:
            self._observer.request(call.operation, code, time.monotonic() - started)

    def _read(self, response: requests.Response, started: float) -> bytes:
        """The body, unless it takes too long in all.

        Read as it comes: waiting for whole chunks, a drip of bytes would reset every socket timeout.
        """
        chunks, size = [], 0
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > _BODY_BYTES:
                raise _TooLarge
            if time.monotonic() - started > self._timeout:
                raise requests.Timeout
        return b"".join(chunks)

    def _judge(self, response: requests.Response, raw: bytes, operation: str) -> Answer:
        """What the status means."""
        status = 429 if self._is_limit(response, raw) else response.status_code
        if status in (200, 201):
            return Answer(status, response.headers, self._parse(raw, operation), _next_url(response), raw)
        if status in (304, 403, 404):
            return Answer(status, response.headers, None)
        if status == 401:
            raise Unauthorized(f"{self._host} refused the token (401)")
        message = f"{self._host}: {operation} answered {status}"
        if status != 429 and status < 500:
            raise _final(message)
        wait = self._retry_after(response)
        if wait is None and status == 429:
            wait = 1.0
        self._limiter.pause(wait or 0.0)
        raise SourceError(message, retry_after=wait, permanent=(wait or 0.0) > LONGEST_PAUSE_SECONDS)

    def _is_limit(self, response: requests.Response, _raw: bytes) -> bool:
        """Whether a 403 says not "never", but "not now": then it is a 429."""
        left = _number(_header(response, "RateLimit-Remaining"))
        return response.status_code == 403 and ("Retry-After" in response.headers or left == 0)

    def _parse(self, raw: bytes, operation: str) -> Any:
        try:
            return json.loads(raw, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise BadAnswer(
                f"{self._host}: {operation} answered 200 with a body that is no JSON, or only a part of it"
            ) from error

    def _obey(self, response: requests.Response) -> None:
        """Report what is left of the allowance, and wait for the next one when it is used up."""
        remaining = _number(_header(response, "RateLimit-Remaining"))
        if remaining is None:
            return
        self._observer.rate_limit_remaining(remaining)
        reset = _number(_header(response, "RateLimit-Reset"))
        if remaining <= 0 and reset is not None:
            wait = reset - timestamp(self._clock.now()) if reset > 1e9 else reset
            self._limiter.pause(min(max(wait, 0.0), LONGEST_PAUSE_SECONDS))

    def _retry_after(self, response: requests.Response) -> float | None:
        """The wait that the source asks for, in seconds: a number, or an HTTP date."""
        text = response.headers.get("Retry-After", "")
        seconds = _number(text)
        if seconds is None:
            try:
                seconds = (parsedate_to_datetime(text) - self._clock.now()).total_seconds()
            except (TypeError, ValueError):
                return None
        return min(max(0.0, seconds), LONGEST_SILENCE_SECONDS)

    def pages(self, path: str, operation: str, params: Mapping[str, Any]) -> Iterator[list[Any]]:
        """All pages of a list, as :meth:`answers` gives them."""
        for answer in self.answers(path, operation, params):
            yield answer.body

    def answers(self, path: str, operation: str, params: Mapping[str, Any]) -> Iterator[Answer]:
        """All pages of a list, by the source's own `Link: rel=next`; 403 and 404 raise `NotThere`.

        The body of each is a list. A page that comes twice stands in the place of another one: the list is
        not complete.
        """
        answer = self.get(path, operation, params)
        token = self.credentials.token
        before: list[Any] = []
        for _ in range(_MAX_PAGES):
            if answer.status != 200:
                raise NotThere(f"{self._host}: {operation} answered {answer.status}", answer.status)
            page = expect_list(answer.body, operation)
            if page and _ids(page) == before:
                raise BadAnswer(f"{operation}: the same page came twice")
            before = _ids(page)
            yield answer
            if answer.next_url is None:
                return
            answer = self.get(answer.next_url, operation)
            if self.credentials.token != token:
                raise SourceError(f"{operation}: the token was exchanged between two pages")
        raise _final(f"{self._host}: {operation} does not end after {_MAX_PAGES} pages")

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked; a POST if there is a ``question``."""

    url: str
    operation: str
    params: Mapping[str, Any] | None
    question: Mapping[str, Any] | None
    etag: str


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


class _TooLarge(urllib3.exceptions.HTTPError):
    """A body that nobody should read to its end."""


def _final(message: str) -> SourceError:
    """An error that is not tried again within this call, though a later poll may succeed."""
    return SourceError(message, permanent=True)


def _header(response: requests.Response, name: str) -> str | None:
    """A header under its standard name, or the older one with ``X-``."""
    return response.headers.get(name) or response.headers.get(f"X-{name}")


def _ids(page: list[Any]) -> list[Any]:
    """What tells the entries of one page from those of another: their ids, or all of those without one."""
    return [entry.get("id", entry) if isinstance(entry, dict) else entry for entry in page]


def _no_constant(name: str) -> None:
    """Refuse what Python takes for JSON though no other program does."""
    raise ValueError(f"{name} is no JSON")


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None


def _next_url(response: requests.Response) -> str | None:
    """The next page: the query of the source's own link, at the address that was asked.

    Never at the link's own: a token must not follow it elsewhere, and behind a proxy it may hold a name
    that only the source can resolve.
    """
    link = response.links.get("next", {}).get("url")
    if not link:
        return None
    query = link.partition("#")[0].partition("?")[2]
    return urlunsplit(urlsplit(response.url)._replace(query=query))


def _plain(error: Exception) -> str:
    """What went wrong, without URLs: they may hold what a log should not."""
    return next((text for kinds, text in _PLAIN if isinstance(error, kinds)), "the connection failed")


_PLAIN: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((_TooLarge,), f"the answer is larger than {_BODY_BYTES >> 20} MiB"),
    ((requests.Timeout, urllib3.exceptions.TimeoutError), "no answer in time"),
    (
        (requests.exceptions.SSLError, urllib3.exceptions.SSLError),
        "the TLS handshake failed (unknown certificate?)",
    ),
    ((urllib3.exceptions.DecodeError,), "the answer is not compressed as it says"),
    ((urllib3.exceptions.ProtocolError,), "the connection broke in the middle of the answer"),
    ((requests.exceptions.ProxyError,), "no connection to the proxy"),
    ((requests.ConnectionError,), "no connection"),
)
