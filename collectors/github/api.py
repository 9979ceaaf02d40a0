"""Calling GitHub: its headers, its two rate limits, and who we are to it."""

from __future__ import annotations

from typing import Any

import requests

from collectors._connection import api_client
from collectors._credentials import Credentials
from collectors._http import ApiClient
from collectors.github.app import AppClaim, AppCredentials
from collectors.github.settings import Connection
from exporter.clock import timestamp
from exporter.contract import Context

_VERSION = "2022-11-28"
_SECONDARY_SECONDS = 61.0  # at least a minute, says GitHub, if it does not say for how long
_LONGEST_SECONDS = 3_600.0  # of the primary limit, which is one of an hour
_LONGEST_TEXT = 4_096
_LIMITED = (b"rate limit", b"abuse detection")  # the latter on older servers


class GitHubApi(ApiClient):
    """An `ApiClient` that takes a 403 for what it is, and waits as long as GitHub asks.

    Source:
        docs.github.com, "Rate limits for the REST API": over a limit the status is 403 or 429; wait for
        `retry-after`, else until `x-ratelimit-reset` if nothing remains, else at least a minute.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._session.headers["X-GitHub-Api-Version"] = _VERSION

    def _is_limit(self, response: requests.Response, raw: bytes) -> bool:
        return super()._is_limit(response, raw) or (
            response.status_code == 403 and any(words in raw[:_LONGEST_TEXT].lower() for words in _LIMITED)
        )

    def _obey(self, response: requests.Response) -> None:
        super()._obey(response)
        if response.headers.get("X-RateLimit-Remaining") == "0":
            self._limiter.pause(self._until_reset(response))

    def _until_reset(self, response: requests.Response) -> float:
        """Seconds until there are calls again; a minute if GitHub does not say."""
        try:
            reset = float(response.headers["X-RateLimit-Reset"])
        except (KeyError, ValueError):
            return _SECONDARY_SECONDS
        return min(max(1.0, reset - timestamp(self._clock.now())), _LONGEST_SECONDS)

    def _retry_after(self, response: requests.Response) -> float | None:
        wait = super()._retry_after(response)
        if wait is not None or response.status_code not in (403, 429):
            return wait
        if response.headers.get("X-RateLimit-Remaining") == "0":
            return self._until_reset(response)
        return _SECONDARY_SECONDS


def github_api(config: Connection, context: Context, collector: str) -> ApiClient:
    """The client of *collector*, which asks with the token, or as the App.

    Raises:
        ConfigError: a file is missing, the private key is none, or what an App needs is not installed.
    """
    return _api(config, context, collector, _credentials(config, context, collector))


def _credentials(config: Connection, context: Context, collector: str) -> Credentials:
    if config.app_id is None:
        return config.token_credentials()
    claim = AppClaim(config, context.clock)
    api = _api(config, context, collector, claim)
    return AppCredentials(api, config.installation_id or 0, context.clock)


def _api(config: Connection, context: Context, collector: str, credentials: Credentials) -> ApiClient:
    return api_client(
        config,
        context,
        collector,
        base_url=config.api_url,
        credentials=credentials,
        accept="application/vnd.github+json",
        cls=GitHubApi,
    )
