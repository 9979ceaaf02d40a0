"""From a Prometheus web configuration file to a :class:`WebConfig`, or to every problem at once."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError

from exporter.config import secrets
from exporter.config import yaml as strict_yaml
from exporter.config.draft import Draft, Finding, Layer, Place
from exporter.config.fields import Loc, dotted, outside_secret
from exporter.config.files import Unreadable, as_text
from exporter.config.messages import report_errors
from exporter.config.section import Section
from exporter.errors import ConfigError, Problem
from exporter.web import webkeys
from exporter.web.pem import certificate_fault, key_fault
from exporter.web.stamps import Stamped
from exporter.web.webconfig import ClientAuth, Pem, RateLimit, TlsConfig, WebConfig
from exporter.web.webkeys import HttpKeys, RateKeys, TlsKeys, WebKeys

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_PEM_BYTES = 4 * 1024 * 1024
_TLS = "tls_server_config"
_VERIFYING = ClientAuth.REQUIRE_AND_VERIFY
K = TypeVar("K", bound=Section)


def load_web_config(path: Path, stamped: Stamped | None = None) -> WebConfig:
    """What *path* says; *stamped*, if given, learns of every file that was read for it.

    Raises:
        ConfigError: with every problem, each with file, line and key; none tells of a key or a hash.
    """
    return _Reader(path, stamped or Stamped()).read()


@dataclass(frozen=True, slots=True)
class _Piece:
    """One certificate or key: what the configuration says of it, its content, and the key that said so."""

    pem: Pem
    content: bytes
    loc: Loc


class _Reader:
    """One reading of one file; problems gather in ``draft``."""

    def __init__(self, path: Path, stamped: Stamped) -> None:
        self.path = path
        self.stamped = stamped
        self.draft = Draft(WebKeys)

    def read(self) -> WebConfig:
        self._parse()
        pieces = {name: self._piece(name) for name in ("cert", "key", "client_ca")}
        self._check_pieces(pieces)
        self._check_words()
        self._check_headers()
        try:
            WebKeys.model_validate(self.draft.data)
        except ValidationError as error:
            report_errors(self.draft, error.errors(include_url=False, include_input=False))
        # Each section by itself: what is wrong in one must not hide what is wrong in the next.
        tls = self._tls(self._section(_TLS, TlsKeys), pieces)
        rate_limit = self._rate_limit(self._section("rate_limit", RateKeys))
        headers = self._headers(self._section("http_server_config", HttpKeys))
        if self.draft.findings:
            raise ConfigError(self._problems())
        users = WebKeys.model_validate(self.draft.data).basic_auth_users or {}
        hashes = {name: value.get_secret_value().encode() for name, value in users.items()}
        return WebConfig(tls, hashes, headers, rate_limit, tuple(self._warnings(tls, hashes)))

    # -- text ----------------------------------------------------------------------------------

    def _parse(self) -> None:
        """Put the file's values into the draft; stops with what is wrong when it says nothing at all."""
        file = str(self.path)
        try:
            document = strict_yaml.read(as_text(self.stamped.read(self.path, MAX_FILE_BYTES)))
        except Unreadable as error:
            raise ConfigError([Problem("", str(error), file, error.line)]) from None
        self.draft.places[()] = Place(Layer.FILE, file)
        self.draft.places |= {loc: Place(Layer.FILE, file, line) for loc, line in document.lines.items()}
        for fault in document.faults:
            if fault not in document.words or fault.loc not in webkeys.BOOLS:
                loc = outside_secret(WebKeys, fault.loc)
                problem = Problem(dotted(loc), fault.message, file, fault.line)
                self.draft.findings.append(Finding(loc, problem, Place(Layer.FILE, file, fault.line)))
        if document.broken:
            raise ConfigError(self._problems())
        if document.value is not None and not isinstance(document.value, dict):
            raise ConfigError([Problem("", "the file must be a mapping (key: value) at its top", file, 1)])
        self.draft.data = document.value or {}

    def _section(self, name: str, keys: type[K]) -> K | None:
        """The section, ``None`` when something in it is wrong."""
        try:
            return keys.model_validate(self.draft.get((name,)) or {})
        except ValidationError:
            return None

    def _problems(self) -> list[Problem]:
        """The problems in reading order, with a last look for secrets."""
        known = secrets.known_secrets(self.draft)
        problems = []
        for finding in sorted(self.draft.findings, key=lambda found: found.order):
            message = finding.problem.message
            for secret in known:
                message = message.replace(secret, secrets.HIDDEN)
            problems.append(replace(finding.problem, message=message))
        return list(dict.fromkeys(problems))

    # -- certificates --------------------------------------------------------------------------

    def _piece(self, name: str) -> _Piece | None:
        """What ``name_file``, or else ``name``, brings; ``None`` when neither is set, or cannot be read."""
        for key in (f"{name}_file", name):
            loc = (_TLS, key)
            value = self.draft.get(loc)
            if value is None or value == "" or not isinstance(value, (str, int)):
                continue
            if key == name:
                return _Piece(str(value).encode(), str(value).encode(), loc)
            path = self.path.absolute().parent / str(value)
            try:
                return _Piece(path, self.stamped.read(path, MAX_PEM_BYTES), loc)
            except Unreadable as error:
                self.draft.report(loc, str(error))
                return None
        return None

    def _check_pieces(self, pieces: dict[str, _Piece | None]) -> None:
        cert, key, authorities = pieces["cert"], pieces["key"], pieces["client_ca"]
        for piece in (cert, authorities):
            fault = piece and certificate_fault(piece.content)
            if piece and fault:
                self.draft.report(piece.loc, fault)
        if cert and key and not self.draft.reported(cert.loc):
            fault = key_fault(cert.content, key.content)
            if fault:
                self.draft.report(key.loc, fault)

    def _tls(self, keys: TlsKeys | None, pieces: dict[str, _Piece | None]) -> TlsConfig | None:
        """What TLS is to do, ``None`` without any or when something is wrong with it."""
        if keys is None or not keys.model_fields_set or all(_is_empty(value) for _, value in keys):
            return None
        self._check_complete(keys)
        client_auth = self._client_auth(keys)
        minimum, maximum = self._versions(keys)
        suites = self._suites(keys)
        cert, key, authorities = pieces["cert"], pieces["key"], pieces["client_ca"]
        if not (cert and key):
            return None
        return TlsConfig(
            cert=cert.pem,
            key=key.pem,
            client_ca=authorities.pem if authorities and client_auth is not ClientAuth.NONE else None,
            client_auth=client_auth,
            allowed_sans=keys.client_allowed_sans or (),
            minimum=minimum,
            maximum=maximum,
            cipher_suites=suites,
            prefer_server_ciphers=keys.prefer_server_cipher_suites is not False,
            curves=tuple(webkeys.CURVES[name] for name in keys.curve_preferences or ()),
        )

    def _check_complete(self, keys: TlsKeys) -> None:
        if not (keys.cert_file or keys.cert):
            self._missing("cert_file", "is required (or cert): TLS needs a certificate")
        if not (keys.key_file or (keys.key and keys.key.get_secret_value())):
            self._missing("key_file", "is required (or key): TLS needs the certificate's private key")

    def _client_auth(self, keys: TlsKeys) -> ClientAuth:
        """What is asked of clients, once it agrees with the authority and the names that are given."""
        word = keys.client_auth_type or "NoClientCert"
        wanted = webkeys.CLIENT_AUTH[word]
        authorities = bool(keys.client_ca_file or keys.client_ca)
        sans = keys.client_allowed_sans
        if authorities and word == "NoClientCert":
            key = "client_ca_file" if keys.client_ca_file else "client_ca"
            message = "is set, but client_auth_type asks for no certificate: set RequireAndVerifyClientCert"
            self.draft.report((_TLS, key), message)
        if wanted is _VERIFYING and not authorities:
            message = "needs client_ca_file (or client_ca): without it anybody's certificate would do"
            self.draft.report((_TLS, "client_auth_type"), message)
        if sans is not None and wanted is not _VERIFYING:
            message = "needs client_auth_type RequireAndVerifyClientCert: others let in who has none"
            self.draft.report((_TLS, "client_allowed_sans"), message)
        elif sans == ():
            self.draft.report((_TLS, "client_allowed_sans"), "is empty: nobody could come in; leave it out")
        # Nobody to verify against: whoever shows nothing comes in anyway.
        return ClientAuth.NONE if wanted is ClientAuth.VERIFY_IF_GIVEN and not authorities else wanted

    def _versions(self, keys: TlsKeys) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
        minimum = webkeys.TLS_VERSIONS[keys.min_version or "TLS12"]
        maximum = webkeys.TLS_VERSIONS[keys.max_version or "TLS13"]
        if keys.cipher_suites and not set(keys.cipher_suites) & webkeys.CIPHER_SUITES.keys():
            # Only suites of 1.3 are named, so nothing older can be spoken.
            minimum = max(minimum, ssl.TLSVersion.TLSv1_3)
        if minimum > maximum:
            key = "max_version" if keys.max_version else "min_version"
            self.draft.report((_TLS, key), "leaves no TLS version to speak: the newest is below the oldest")
        return minimum, maximum

    def _suites(self, keys: TlsKeys) -> tuple[str, ...]:
        """The cipher suites in OpenSSL's words, those of TLS 1.3 left out."""
        named = dict.fromkeys(name for name in keys.cipher_suites or () if name in webkeys.CIPHER_SUITES)
        suites = tuple(webkeys.CIPHER_SUITES[name] for name in named)
        try:
            if suites:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(":".join(suites))
        except ssl.SSLError:
            self.draft.report((_TLS, "cipher_suites"), "names none that the OpenSSL of this machine offers")
        return suites

    # -- the rest ------------------------------------------------------------------------------

    def _check_words(self) -> None:
        for key in webkeys.WORDS:
            value = self.draft.get((_TLS, key))
            words = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, word in words:
                fault = webkeys.word_fault(key, word)
                if fault:
                    self.draft.report((_TLS, key) if index is None else (_TLS, key, index), fault)

    def _check_headers(self) -> None:
        headers = self.draft.get(("http_server_config", "headers"))
        for name, value in headers.items() if isinstance(headers, dict) else ():
            fault = webkeys.header_fault(name, value)
            if fault:
                self.draft.report(("http_server_config", "headers", name), fault)

    def _headers(self, keys: HttpKeys | None) -> dict[str, str]:
        written = (keys and keys.headers) or {}
        return {name: value for name, value in written.items() if value}

    def _rate_limit(self, keys: RateKeys | None) -> RateLimit | None:
        if keys is None or not keys.interval:
            return None
        if not keys.burst:
            loc = ("rate_limit", "burst")
            message = "must be at least 1: with none, every request would be refused"
            self.draft.report(loc, message, missing=keys.burst is None)
            return None
        return RateLimit(keys.interval, keys.burst)

    def _warnings(self, tls: TlsConfig | None, users: Iterable[str]) -> Iterator[Problem]:
        if tls and tls.minimum < ssl.TLSVersion.TLSv1_2:
            message = "TLS 1.0 and 1.1 are broken: leave it out unless a client knows nothing newer"
            yield self._warning((_TLS, "min_version"), message)
        for user in users:
            if ":" in user:
                message = "nobody can log in: in a login, the user's name ends at the first colon"
                yield self._warning(("basic_auth_users", user), message)

    def _warning(self, loc: Loc, message: str) -> Problem:
        place = self.draft.places.get(loc)
        return Problem(dotted(loc), message, str(self.path), place.line if place else None)

    def _missing(self, key: str, message: str) -> None:
        self.draft.report((_TLS, key), message, missing=True)


def _is_empty(value: Any) -> bool:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return text is None or text == ""
