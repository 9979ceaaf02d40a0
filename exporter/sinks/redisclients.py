"""Clients of Redis: of one server, of the one that Sentinels call the master, or of a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from exporter.config.files import Unreadable
from exporter.config.redis import RedisSettings
from exporter.config.secrets import read_secret

Client = redis.Redis | RedisCluster
TROUBLES = (redis.RedisError, RedisClusterException, OSError, ValueError)
"""What a client raises that cannot ask; redis-py has one error that is none of its own family."""
_TIMEOUT_SECONDS = 1.0
_OF_A_SENTINEL = re.compile(r"> - (?:\w+:)?(.+?)(?=, <redis|$)")
"""An error of one Sentinel behind its client, which redis-py spells out with all of its options."""


def connect(settings: RedisSettings) -> Client:
    """A client that never tries twice, since that is for us to say.

    One of a cluster asks it for its nodes at once, the others connect at their first command.

    Raises:
        One of TROUBLES: the cluster cannot be asked.
    """
    options = _common(settings) | {
        "username": settings.login,
        "password": _secret(settings.password, settings.password_file),
    }
    if settings.cluster:
        nodes = [ClusterNode(host, port) for host, port in settings.places]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, **options)
    options |= {"db": settings.database, "client_name": "ci-exporter"}
    if settings.sentinel_service is None:
        ((host, port),) = settings.places
        return redis.Redis(host=host, port=port, **options)
    asking = _common(settings) | {
        "username": settings.sentinel_login,
        "password": _secret(settings.sentinel_password, settings.sentinel_password_file),
    }
    sentinels: Any = Sentinel(settings.places, sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]
    master: redis.Redis = sentinels.master_for(settings.sentinel_service)
    return master


def in_words(error: Exception) -> str:
    """What *error* says, in one line that people can read."""
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, MasterNotFoundError):
        text, _, rest = text.partition(" : ")
        if failed := _OF_A_SENTINEL.findall(rest):
            kinds = ", ".join(dict.fromkeys(failed))
            text += f", and {len(failed)} of the Sentinels could not be asked: {kinds}"
    return text


def secrets(settings: RedisSettings) -> list[str]:
    """The passwords as they are now."""
    found = (
        _secret(settings.password, settings.password_file),
        _secret(settings.sentinel_password, settings.sentinel_password_file),
    )
    return [secret for secret in found if secret]


def _common(settings: RedisSettings) -> dict[str, Any]:
    """What holds for servers and Sentinels."""
    options: dict[str, Any] = {
        "socket_timeout": _TIMEOUT_SECONDS,
        "socket_connect_timeout": _TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # of 3, a missing password is told in words that nobody understands
    }
    if settings.tls:
        ca_file = str(settings.ca_file) if settings.ca_file else None
        options |= {"ssl": True, "ssl_ca_certs": ca_file, "ssl_check_hostname": True}
    return options


def _secret(secret: SecretStr | None, file: Path | None) -> str | None:
    """The password as it is now: its file may hold another one than when the settings were read."""
    if file:
        try:
            return read_secret(file)
        except Unreadable:
            pass
    return secret.get_secret_value() if secret else None
