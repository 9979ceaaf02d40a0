"""What a Prometheus web configuration file says: TLS, passwords and headers of the HTTP server."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from exporter.errors import Problem

Pem = Path | bytes
"""A PEM file, or its content where it was written into the configuration itself."""


class ClientAuth(StrEnum):
    """What is asked of a client's certificate; the words are those of the file."""

    NONE = "NoClientCert"
    VERIFY_IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRE_AND_VERIFY = "RequireAndVerifyClientCert"


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """``tls_server_config``.

    ``allowed_sans`` lists who may come, by a name in their certificate; empty allows everyone that the
    ``client_ca`` signed. ``cipher_suites`` (TLS 1.2 and older) and ``curves`` are OpenSSL's names; empty
    leaves the choice to OpenSSL.
    """

    cert: Pem
    key: Pem = field(repr=False)
    client_ca: Pem | None = None
    client_auth: ClientAuth = ClientAuth.NONE
    allowed_sans: tuple[str, ...] = ()
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    cipher_suites: tuple[str, ...] = ()
    prefer_server_ciphers: bool = True
    curves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """``rate_limit``: one request each ``interval_seconds``, ``burst`` of them at once."""

    interval_seconds: float
    burst: int


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The whole file; an empty one means plain HTTP for everybody.

    ``users`` gives each user's bcrypt hash. ``headers`` go with every answer. ``warnings`` tell what is valid
    but hardly meant.
    """

    tls: TlsConfig | None = None
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_limit: RateLimit | None = None
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
