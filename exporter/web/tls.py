"""TLS settings and the files they name, made into what a handshake needs."""

from __future__ import annotations

import ipaddress
import re
import ssl
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from exporter.errors import ConfigError
from exporter.web.pem import as_path
from exporter.web.webconfig import ClientAuth, Pem, TlsConfig

_VERIFY = {
    ClientAuth.NONE: ssl.CERT_NONE,
    ClientAuth.VERIFY_IF_GIVEN: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRE_AND_VERIFY: ssl.CERT_REQUIRED,
}
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_UTC_TIME = 0x17
WARN_BEFORE_EXPIRY = timedelta(days=7)


def build_contexts(config: TlsConfig) -> tuple[ssl.SSLContext, ...]:
    """The contexts of a server with these settings, to be offered in this order; the files are read now.

    One for each of the ``curves``, since Python below 3.15 can set only one: whom the first does not suit may
    suit the next, and what the list leaves out stays forbidden. In TLS 1.2 a client certificate with an
    elliptic key must be on the curve that was agreed on.

    Raises:
        ConfigError: a file cannot be read, does not fit, or OpenSSL does not know a name.
    """
    return tuple(_build_context(config, curve) for curve in config.curves or (None,))


def _build_context(config: TlsConfig, curve: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if not config.prefer_server_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    # Scrapers keep their connection and do not resume. Tickets would be two useless messages that a client
    # which closes at once answers with a reset.
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    _set_versions(context, config)
    _set_suites(context, config)
    _set_curve(context, curve)
    _load_pair(context, config)
    _load_client_ca(context, config)
    return context


def _set_versions(context: ssl.SSLContext, config: TlsConfig) -> None:
    with warnings.catch_warnings():
        # Whoever writes TLS10 or TLS11 into the file has been told that it is old.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = config.minimum, config.maximum


def _set_suites(context: ssl.SSLContext, config: TlsConfig) -> None:
    ciphers = list(config.cipher_suites)
    if config.minimum < ssl.TLSVersion.TLSv1_2:
        # OpenSSL 3 has the hashes of these versions on level 0 only.
        ciphers = [*(ciphers or ["DEFAULT"]), "@SECLEVEL=0"]
    try:
        if ciphers:
            context.set_ciphers(":".join(ciphers))
    except ssl.SSLError as exc:
        raise ConfigError(f"the cipher suites cannot be used: {_reason(exc)}") from exc


def _set_curve(context: ssl.SSLContext, curve: str | None) -> None:
    try:
        if curve is not None:
            context.set_ecdh_curve(curve)
    except (ValueError, ssl.SSLError) as exc:
        raise ConfigError(f"OpenSSL does not know the curve {curve}") from exc


def _load_pair(context: ssl.SSLContext, config: TlsConfig) -> None:
    with _as_file(config.cert) as cert, _as_file(config.key) as key:
        try:
            context.load_cert_chain(cert, key, password=_no_passphrase)
        except (OSError, ValueError) as exc:
            raise ConfigError(
                f"the TLS certificate ({_name(config.cert)}) and its key ({_name(config.key)}) "
                f"are not complete or do not fit together: {_reason(exc)}"
            ) from exc


def _load_client_ca(context: ssl.SSLContext, config: TlsConfig) -> None:
    context.verify_mode = _VERIFY[config.client_auth]
    # As the web configuration of other exporters has it: every certificate in the file is trusted by itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if config.client_ca is None:
        return
    with _as_file(config.client_ca) as path:
        try:
            context.load_verify_locations(path)
        except (OSError, ValueError) as exc:
            raise ConfigError(
                f"the client CA ({_name(config.client_ca)}) cannot be used: {_reason(exc)}"
            ) from exc


def _as_file(pem: Pem) -> AbstractContextManager[str]:
    """A path where OpenSSL, which reads keys from files only, finds what *pem* holds now."""
    return as_path(_read(pem))


def _read(pem: Pem) -> bytes:
    if isinstance(pem, bytes):
        return pem
    try:
        return pem.read_bytes()
    except OSError as exc:
        raise ConfigError(f"cannot read {pem}: {exc.strerror}") from exc


def _no_passphrase() -> NoReturn:
    # Without this OpenSSL would ask on the terminal.
    raise ConfigError("the TLS key has a passphrase; write it without one")


def _name(pem: Pem) -> str:
    return str(pem) if isinstance(pem, Path) else "written in the file itself"


def _reason(exc: Exception) -> str:
    """The part of an error that means something to a person, as ``key values mismatch``."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message
    reason = getattr(exc, "reason", None) or getattr(exc, "strerror", None) or (exc.args or ("",))[-1]
    return str(reason).replace("_", " ").lower()


# -- one identity


class Validity(NamedTuple):
    """From when and until when a certificate counts."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """What the server is to its clients: settings, the contexts made of them, and its certificate (DER).

    ``certificate`` is empty and ``validity`` ``None`` when only OpenSSL understands the file.
    """

    config: TlsConfig
    contexts: tuple[ssl.SSLContext, ...]
    certificate: bytes
    validity: Validity | None

    def fault(self, now: datetime) -> str | None:
        """What clients have, or will soon have, against the certificate; ``None`` for nothing."""
        if self.validity is None:
            return None
        if now < self.validity.begin:
            return (
                f"the TLS certificate is not valid before {self.validity.begin}; look at this machine's clock"
            )
        if self.validity.end - now > WARN_BEFORE_EXPIRY:
            return None
        verb = "expired" if self.validity.end <= now else "expires"
        return f"the TLS certificate {verb} at {self.validity.end}; renew it"


def load(config: TlsConfig) -> Identity:
    """The identity that *config* and its files give now.

    Raises:
        ConfigError: they do not fit.
    """
    contexts = build_contexts(config)
    certificate = _first_certificate(_read(config.cert))
    return Identity(config, contexts, certificate, validity(certificate))


def _first_certificate(pem: bytes) -> bytes:
    found = _CERTIFICATE.search(pem)
    try:
        return ssl.PEM_cert_to_DER_cert(found[0].decode("ascii")) if found else b""
    except ValueError:
        return b""


# -- what certificates say


def validity(certificate: bytes) -> Validity | None:
    """When a DER *certificate* is valid; ``None`` when it is not one.

    The standard library decodes only certificates that it has verified, and this is our own.
    """
    try:
        at = _content(certificate, _content(certificate, 0))
        if certificate[at] == 0xA0:
            at = _end(certificate, at)
        for _ in ("serial number", "signature algorithm", "issuer"):
            at = _end(certificate, at)
        at = _content(certificate, at)
        return Validity(_instant(certificate, at), _instant(certificate, _end(certificate, at)))
    except (IndexError, ValueError):
        return None


def _instant(der: bytes, at: int) -> datetime:
    """The time that the element at *at* is."""
    text = der[_content(der, at) : _end(der, at)].decode("ascii")
    year = "%y" if der[at] == _UTC_TIME else "%Y"
    return datetime.strptime(text, f"{year}%m%d%H%M%S%z").astimezone(UTC)


def _content(der: bytes, at: int) -> int:
    """Where the content of the element at *at* begins."""
    return at + 2 + (der[at + 1] & 0x7F if der[at + 1] & 0x80 else 0)


def _end(der: bytes, at: int) -> int:
    """Where the element at *at* ends."""
    start = _content(der, at)
    return start + (int.from_bytes(der[at + 2 : start], "big") if der[at + 1] & 0x80 else der[at + 1])


def is_allowed(peer: Mapping[str, Any] | None, allowed_sans: tuple[str, ...]) -> bool:
    """Whether a client with the verified certificate *peer* (``None`` or empty: with none) may come."""
    if not allowed_sans:
        return True
    allowed = {_same_address(name) for name in allowed_sans}
    given = (peer or {}).get("subjectAltName", ())
    return any((_same_address(name) if kind == "IP Address" else name) in allowed for kind, name in given)


def _same_address(name: str) -> str:
    """*name*, written in the one way that IP addresses are compared in."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name
