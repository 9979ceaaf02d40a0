"""What may stand under ``sinks.kafka.redis``: where several producers agree on who tells an event."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator

from exporter.config.section import Section

PORT = 6379
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


class RedisSettings(Section):
    """A Redis that all producers of the same events ask before they tell one."""

    enabled: bool = Field(
        default=True, description="whether it is asked; needs a package: ci-exporter[redis]"
    )
    address: str = Field(description=f"host:port of Redis; without a port, {PORT}")
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
    def host_and_port(self) -> tuple[str, int]:
        """Where Redis is."""
        return _host_and_port(self.address)

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        _host_and_port(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> RedisSettings:
        if self.login is not None and self.password is None:
            raise ValueError("login needs password or password_file")
        if self.ca_file and not self.tls:
            raise ValueError("ca_file means nothing without tls: true")
        return self


def _host_and_port(address: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"] or PORT) <= 65535:
        raise ValueError("must be host:port, such as redis.example.com:6379")
    return found["host"].strip("[]"), int(found["port"] or PORT)
