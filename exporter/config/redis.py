"""What may stand under ``sinks.kafka.redis``: where several producers agree on who tells an event."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator

from exporter.config.section import Section

PORT, SENTINEL_PORT = 6379, 26379
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


class RedisSettings(Section):
    """A Redis that all producers of the same events ask before they tell one."""

    enabled: bool = Field(
        default=True, description="whether it is asked; needs a package: ci-exporter[redis]"
    )
    address: str = Field(
        description=f"host:port of Redis, without a port {PORT}; of Sentinels or nodes, several with commas"
    )
    sentinel_service: str | None = Field(
        default=None,
        min_length=1,
        description=f"what Sentinels call the service; address is theirs, without a port {SENTINEL_PORT}",
    )
    sentinel_login: str | None = Field(default=None, description="user name of the Sentinels' own ACL")
    sentinel_password: SecretStr | None = Field(default=None, description="password that Sentinels want")
    sentinel_password_file: Path | None = Field(
        default=None, description="instead of sentinel_password: a file that holds it"
    )
    cluster: bool = Field(default=False, description="address is that of nodes of a Redis Cluster")
    login: str | None = Field(default=None, description="user name of an ACL; without one, `default`")
    password: SecretStr | None = Field(default=None, description="password, of the login if there is one")
    password_file: Path | None = Field(
        default=None, description="instead of password: a file that holds it, read again for each connection"
    )
    tls: bool = Field(default=False, description="whether to encrypt, and to check Redis's certificate")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authorities to trust (default: the system's)"
    )
    database: int = Field(default=0, ge=0, description="number of the database")
    ttl_minutes: int = Field(
        default=1440,
        ge=1,
        le=525_600,
        description="how long it is known who told an event; longer than producers may lag behind each other",
    )
    key_prefix: str = Field(
        default="ci-exporter:told:",
        min_length=1,
        max_length=200,
        description="what keys begin with, before the topic; the same for all its producers",
    )

    @property
    def places(self) -> list[tuple[str, int]]:
        """Host and port of each server that ``address`` names."""
        return _places(self.address, PORT if self.sentinel_service is None else SENTINEL_PORT)

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        _places(value, PORT)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> RedisSettings:
        if self.login is not None and self.password is None:
            raise ValueError("login needs password or password_file")
        if self.ca_file and not self.tls:
            raise ValueError("ca_file means nothing without tls: true")
        if self.sentinel_service is None:
            if self.sentinel_login or self.sentinel_password:
                raise ValueError("sentinel_login and sentinel_password mean nothing without sentinel_service")
            if len(self.places) > 1 and not self.cluster:
                raise ValueError("address names several: set sentinel_service or cluster, or name one")
        elif self.cluster:
            raise ValueError("sentinel_service and cluster are both set: keep one of them")
        if self.cluster and self.database:
            raise ValueError("a cluster has database 0 alone")
        return self


def _places(addresses: str, port: int) -> list[tuple[str, int]]:
    if "://" in addresses:
        raise ValueError(
            "must be host:port, not a URL; tls, login, password and database are keys of their own"
        )
    return [_host_and_port(address.strip(), port) for address in addresses.split(",")]


def _host_and_port(address: str, port: int) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"] or port) <= 65535:
        raise ValueError("must be host:port, such as redis.example.com:6379")
    return found["host"].strip("[]"), int(found["port"] or port)
