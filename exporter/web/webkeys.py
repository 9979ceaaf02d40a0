"""What may be written in a Prometheus web configuration file, and what its words mean to OpenSSL."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StrictBool

from exporter.config.messages import unknown
from exporter.config.section import Section
from exporter.web.webconfig import ClientAuth

TLS_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
CIPHER_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
}
"""The suites of TLS 1.2 and older that Go calls secure, or did until 1.22, in Go's words and OpenSSL's."""
TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""May be named, but TLS 1.3 lets nobody choose: neither Go nor we."""
CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
CLIENT_AUTH = {
    "NoClientCert": ClientAuth.NONE,
    # Asked for and not looked at: whoever has none, or a wrong one, comes in all the same.
    "RequestClientCert": ClientAuth.NONE,
    "VerifyClientCertIfGiven": ClientAuth.VERIFY_IF_GIVEN,
    "RequireAndVerifyClientCert": ClientAuth.REQUIRE_AND_VERIFY,
}
HEADERS: dict[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
"""The headers that may be set, each with the values it may have; none given means any."""

MAX_COST = 18
"""Of a bcrypt hash: a login takes 70 ms at cost 10, 20 s at 18 and an hour at 26."""
# The 22nd character of the salt holds two bits only; bcrypt refuses a salt with more in it.
_BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}\Z", re.ASCII)
_DURATION = re.compile(r"(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+\Z", re.ASCII)
_PART = re.compile(r"([\d.]+)([a-zµμ]+)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNVERIFIED = ("RequireAnyClientCert", "RequireClientCert")


def _text(value: Any) -> Any:
    """A whole number where text belongs is text, as it is for other exporters: ``X-XSS-Protection: 0``."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


WORDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "client_auth_type": ("client_auth_type", ("", *CLIENT_AUTH)),
    "min_version": ("TLS version", tuple(TLS_VERSIONS)),
    "max_version": ("TLS version", tuple(TLS_VERSIONS)),
    "cipher_suites": ("cipher suite", (*CIPHER_SUITES, *TLS13_SUITES)),
    "curve_preferences": ("curve", tuple(CURVES)),
}
"""The keys of ``tls_server_config`` with a fixed vocabulary: what its words are called, and the words."""


def word_fault(key: str, value: Any) -> str | None:
    """Why *value* is no word for *key*, one of :data:`WORDS`; ``None`` when it is, or is no text at all."""
    kind, words = WORDS[key]
    if not isinstance(value, str) or value in words:
        return None
    if value in _UNVERIFIED:
        return (
            f"{value} is not offered: a certificate that is demanded but not verified keeps nobody out."
            " Use RequireAndVerifyClientCert with client_ca_file"
        )
    return unknown(kind, value, tuple(word for word in words if word))


def _word(key: str) -> Callable[[str], str]:
    """A check that lets words of *key* pass; :func:`word_fault` tells the person what is wrong."""

    def check(value: str) -> str:
        if word_fault(key, value):
            raise ValueError("is not known")
        return value

    return check


def _hash(value: SecretStr) -> SecretStr:
    found = _BCRYPT.match(value.get_secret_value())
    if found is None:
        raise ValueError('is not a bcrypt hash, which `htpasswd -nBC 10 ""` makes of a password')
    if not 4 <= int(found[1]) <= MAX_COST:
        raise ValueError(f"has a cost of {int(found[1])}: it must be from 4 to {MAX_COST}, and 10 is usual")
    return value


def header_fault(name: str, value: Any) -> str | None:
    """Why the header *name* may not be, or not have *value*; ``None`` when it may."""
    if name not in HEADERS:
        return unknown("header", name, tuple(HEADERS))
    text = "" if value is None else _text(value)
    if HEADERS[name] and text not in HEADERS[name]:
        return f"must be one of: {', '.join(HEADERS[name])}"
    if isinstance(text, str) and not re.fullmatch(r"[\t\x20-\x7e]*", text):
        return "must be plain ASCII text on one line"
    return None


def _interval(value: Any) -> Any:
    """Seconds in a duration of Go's, such as ``1m30s``."""
    if value is None or value == 0 or value == "0":
        return 0.0
    if not isinstance(value, str) or not _DURATION.match(value):
        raise ValueError("must be a duration with its unit, such as 500ms, 1s or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))


Text = Annotated[str, BeforeValidator(_text)]
_Auth = Annotated[Text, AfterValidator(_word("client_auth_type"))]
_Version = Annotated[Text, AfterValidator(_word("min_version"))]
_Cipher = Annotated[Text, AfterValidator(_word("cipher_suites"))]
_Curve = Annotated[Text, AfterValidator(_word("curve_preferences"))]


class TlsKeys(Section):
    """``tls_server_config``; an empty text is as good as none."""

    cert_file: Text | None = None
    key_file: Text | None = None
    cert: Text | None = None
    key: SecretStr | None = None
    client_ca_file: Text | None = None
    client_ca: Text | None = None
    client_auth_type: _Auth | None = None
    client_allowed_sans: tuple[Text, ...] | None = None
    min_version: _Version | None = None
    max_version: _Version | None = None
    cipher_suites: tuple[_Cipher, ...] | None = None
    prefer_server_cipher_suites: StrictBool | None = None
    curve_preferences: tuple[_Curve, ...] | None = None


class HttpKeys(Section):
    """``http_server_config``; ``http2`` is accepted and does nothing, since we speak HTTP/1.1 only."""

    http2: StrictBool | None = None
    headers: dict[str, Text | None] | None = None


class RateKeys(Section):
    """``rate_limit``; an interval of 0 means none."""

    interval: Annotated[float, BeforeValidator(_interval)] = 0.0
    burst: int | None = Field(default=None, ge=0, le=1_000_000, strict=True)


class WebKeys(Section):
    """The whole file."""

    tls_server_config: TlsKeys | None = None
    http_server_config: HttpKeys | None = None
    basic_auth_users: dict[str, Annotated[SecretStr, AfterValidator(_hash)]] | None = None
    rate_limit: RateKeys | None = None


BOOLS = {("http_server_config", "http2"), ("tls_server_config", "prefer_server_cipher_suites")}
"""Where ``yes`` and ``on`` are bools, as they are for other exporters."""
